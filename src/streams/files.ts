// What the streams ask of files: to open one by its path, to take a descriptor, to know a FileHandle.
// Assumes that handle/ says how when it is loaded; streams themselves know no handle's class.

import type { Path } from "../backend/interface.ts";
import type { StreamSource } from "./read-ahead.ts";

export type Callback = (error?: Error | null) => void;

/** What the streams need of a FileHandle. */
export interface StreamHandle {
  readonly fd: number;
  close(): Promise<void>;
  sync(): Promise<void>;
  write(
    buffer: NodeJS.ArrayBufferView,
    offset: number,
    length: number,
    position: number | null,
  ): Promise<{ bytesWritten: number }>;
  writev(buffers: NodeJS.ArrayBufferView[], position: number | null): Promise<{ bytesWritten: number }>;
}

/** A file that a stream uses. */
export interface OpenedFile {
  readonly handle: StreamHandle;
  readonly source: StreamSource;
  /** Takes the descriptor out of the handle's hands; a user's FileHandle keeps it. */
  disown?(): number;
}

/** Closes the file of a stream, which has the descriptor until then, as in Node. */
export function closed(stream: { fd: number | null }, { handle }: OpenedFile): Promise<void> {
  const closing = handle.close();
  stream.fd = null;
  return closing;
}

interface Files {
  /** What is behind a FileHandle of this package; null for everything else. */
  of(value: unknown): OpenedFile | null;
  /** Whether somebody has put a `read` of his own in the place of this FileHandle's, which then is to be called. */
  isPatched(value: unknown): boolean;
  /** Opens a file; `isOwned`: it is closed when nobody has its stream any more. */
  open(path: Path, flags: number, mode: number, isOwned: boolean): Promise<OpenedFile>;
  /** A descriptor that its user opened; it is closed only by the stream. */
  adopt(fd: number): OpenedFile;
}

let known: Files | null = null;
let load: () => unknown = () => null;

/** Says once how files are had. */
export function provideFiles(files: Files): void {
  known = files;
}

/** What loads the handles, which provide the files, for a stream that comes before the first of them. */
export function filesComeWith(loader: () => unknown): void {
  load = loader;
}

export function files(): Files {
  if (known === null) load();
  return known!;
}
