// Streams of files beneath a root: this package's own, which open their file by the root where others open a path.
// Assumes a checked name. A descriptor or functions of the user's in the options are passed over: the name is what counts.

import type { OpenFile } from "../backend/interface.ts";
import { FILE_MODE, parseFlags, parseMode } from "../node/open-flags.ts";
import type { FileStreamOptions } from "../streams/file-stream.ts";

interface Opening {
  fd?: number | null;
  open?: () => void;
  flags?: unknown;
  mode?: unknown;
  emit(event: string, value: unknown): boolean;
}

/** A stream made by `make`, whose file is opened by `open` in a later tick. */
export function streamBeneath<S, O extends object>(
  make: (path: string, options: O) => S,
  name: string | Buffer,
  options: (O & FileStreamOptions) | BufferEncoding | undefined,
  open: (flags: number, mode: number) => Promise<OpenFile>,
): S {
  const { fd: _, fs: __, ...own } = typeof options === "string" ? { encoding: options } : { ...options };
  const stream = make(name as string, own as O) as S & Opening;
  stream.open = () => {
    // Wrong flags reject here as they do by a path.
    new Promise<OpenFile>((resolve) =>
      resolve(open(parseFlags(stream.flags as string), parseMode(stream.mode, "mode", FILE_MODE))),
    ).then(
      (file) => {
        stream.fd = file.fd;
        stream.emit("open", file.fd);
      },
      (error) => stream.emit("error", error),
    );
  };
  return stream;
}
