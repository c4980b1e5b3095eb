// Modes and times by an open descriptor, by node:fs as it was at load.
// Assumes an open file or folder; times go through a double, and so to a microsecond or less.

import type { NoParamCallback } from "node:fs";
import { bunFs } from "./bun-fs.ts";
import { retold } from "./errors.ts";
import type { FileInfo } from "./file-info.ts";
import { lateRejection } from "./late-error.ts";

/** For utimensat(2): this time stays. */
export const UTIME_OMIT = 0x3fff_fffe;

/** Sets both times, unless they are to stay, and the permissions unless `mode` is null. */
export async function setOpenAttributes(fd: number, info: FileInfo, mode: number | null): Promise<void> {
  if (mode !== null) await chmodOpen(fd, mode);
  if (info.modificationNanoseconds !== UTIME_OMIT)
    await called("utime", (done) => bunFs.futimes(fd, ...timesOf(info), done));
}

export const chmodOpen = (fd: number, mode: number): Promise<void> =>
  called("chmod", (done) => bunFs.fchmod(fd, mode, done));

/** Calls one of node:fs's functions on a descriptor; what fails is told as Node tells it. */
export function called(syscall: string, call: (done: NoParamCallback) => void): Promise<void> {
  return new Promise((resolve) =>
    call((error) => resolve(error ? lateRejection(() => retold(error, syscall)) : undefined)),
  );
}

/** Access and modification, as Bun takes them. */
export const timesOf = (info: FileInfo): [number | Date, number | Date] => [
  timeOf(info.accessSeconds, info.accessNanoseconds),
  timeOf(info.modificationSeconds, info.modificationNanoseconds),
];

/** Bun takes a negative number for the present. */
function timeOf(seconds: number, nanoseconds: number): number | Date {
  const time = seconds + nanoseconds / 1e9;
  return seconds < 0 ? new Date(time * 1000) : time;
}
