// One file of a log in the place of another: the next segment at a rotation, the file that is at the log's path at a reopening.
// Assumes that no group is under way. Where it fails the log goes on in the file that it has, unless what the folder holds on
// the device is unknown: that error's syscall is "fsync".

import type { Stats } from "node:fs";
import type { Backend } from "../backend/interface.ts";
import type { LogFile } from "./log-file.ts";
import type { Checked } from "./log-options.ts";
import { holdLog, isSame, type Opened, openSegment, prepareSegment, whatIsAt } from "./recover.ts";
import type { Segments } from "./segments.ts";
import { temporaryBeside } from "./temporary.ts";

/** Ends a segment; resolves to the next one, whose first record has that sequence number. */
export async function nextSegment(
  backend: Backend,
  options: Checked,
  segments: Segments,
  old: LogFile,
  sequence: number,
): Promise<Opened> {
  const temporary = temporaryBeside(options.path);
  await old.complete();
  old.closeOff();
  let next: Opened | null = null;
  try {
    next = await prepareSegment(backend, options, temporary, { base: old.end, sequence, salt: old.salt });
    await segments.succeed(temporary);
    return next;
  } catch (error) {
    old.isClosedOff = false;
    if (next !== null) await backend.close(next.file).catch(() => {});
    await backend.unlink(temporary).catch(() => {});
    throw error;
  }
}

/** What is at the log's path now, recovered or begun; null where that is the file that the log has. */
export async function openAnew(
  backend: Backend,
  options: Checked,
  old: LogFile,
  sequence: number,
): Promise<Opened | null> {
  const own = (await backend.fstat(old.file, false)) as Stats;
  if (isSame(own, await whatIsAt(backend, options.path))) return null;
  await old.complete();
  old.closeOff();
  try {
    const held = await holdLog(backend, options);
    return await openSegment(backend, options, held, async () => ({ base: old.end, sequence, salt: old.salt }));
  } catch (error) {
    old.isClosedOff = false;
    throw error;
  }
}
