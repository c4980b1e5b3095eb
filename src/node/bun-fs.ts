// Bun's own node:fs/promises, as it was when this package was loaded, and its stream classes.
// Assumes that a program may put this package in its place, for everybody and so for us too (mock.module does): without a
// copy, what is delegated would come back for ever.

import * as currentFs from "node:fs";
import * as current from "node:fs/promises";
import { systemError } from "./errors.ts";

export const bun: typeof current = { ...current };

const { createReadStream, createWriteStream } = currentFs;
type Classes = Pick<typeof currentFs, "ReadStream" | "WriteStream">;
let classes: Classes | null = null;

/**
 * The classes of Bun's own file streams. Had from a stream, since fs.ReadStream may be somebody else's by now, and loads
 * node:stream when it is only looked at. The streams made here use no file.
 */
export function bunStreams(): Classes {
  classes ??= {
    ReadStream: createReadStream("", { fd: 0, autoClose: false }).constructor as Classes["ReadStream"],
    WriteStream: createWriteStream("", { fd: 1, autoClose: false }).constructor as Classes["WriteStream"],
  };
  return classes;
}

/** What one of Bun's functions gives; what the system refused is told as Node tells it. */
export function told<T>(syscall: string, path: string | Buffer, result: Promise<T>): Promise<T> {
  return result.then(undefined, (error: NodeJS.ErrnoException) => {
    throw typeof error.errno === "number" ? systemError(error.errno, syscall, path) : error;
  });
}
