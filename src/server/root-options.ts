// The options of a Root and of its methods. Types only.

import type { OpenMode } from "node:fs";
import type { HandleWriteOptions } from "../node/options.ts";
import type { FileStreamOptions, ReadStreamOptions, WriteStreamOptions } from "../streams/file-stream.ts";

/** How names beneath a root may resolve. */
export interface RootOptions {
  /**
   * Symbolic links: "inside" (default) are followed while they stay beneath the folder, "never" are refused wherever they
   * stand in a name.
   */
  symlinks?: "inside" | "never" | undefined;
}

/** As Node's for `writeFile`, beneath a root. */
export interface RootWriteOptions extends HandleWriteOptions {
  /** Default "w"; "wx" refuses a file that exists, "a" appends. */
  flag?: OpenMode | undefined;
  /** Permissions of a file that is created, less the umask. Default 0o666. */
  mode?: number | string | undefined;
}

/** As Node's for `readdir`, beneath a root. */
export interface RootReaddirOptions {
  withFileTypes?: boolean | undefined;
  recursive?: boolean | undefined;
  encoding?: BufferEncoding | "buffer" | null | undefined;
}

type Placed = Pick<FileStreamOptions, "flags" | "mode">;
/** As Node's for `createReadStream`, beneath a root. */
export type RootReadStreamOptions = ReadStreamOptions & Placed;
/** As Node's for `createWriteStream`, beneath a root. */
export type RootWriteStreamOptions = WriteStreamOptions & Placed;
