// Memory that chunks are gathered in on their way to a file: rooms that are used again while they are warm, and a bound for what all
// writers of the thread hold together. Beyond it writers take turns; nobody waits long for another, whose disk may be dead.
// Assumes that a room is given back when the kernel has done with it.

import { clearTimeout, setTimeout } from "../node/clock.ts";

/** A write that is worth its way to another thread, and back. */
const ROOM_BYTES = 512 * 1024;
/** What all rooms have together, before they are scarce. */
const ALL_BYTES = 8 * 1024 * 1024;
/** One that is taken while they are scarce: every writer gets on, however little it may hold. */
const SCARCE_BYTES = 128 * 1024;
/** Rooms that stay when no writer has any: what one upload needs. */
const KEPT = 3;
/** The longest wait for a turn. */
const TURN_MS = 20;

const free: Buffer[] = [];
const waiting: (() => void)[] = [];
let held = 0;

/** Whether one more room would be too much: then whoever has written his waits for a turn. */
export const areScarce = (): boolean => held + ROOM_BYTES > ALL_BYTES;

/** A room; while they are scarce a small one. */
export function acquireRoom(): Buffer {
  const room = free.pop() ?? Buffer.allocUnsafeSlow(areScarce() ? SCARCE_BYTES : ROOM_BYTES);
  held += room.length;
  return room;
}

/** Gives a room back. `isIdle`: the kernel is known to have done with it; else nobody may have it again. */
export function releaseRoom(room: Buffer, isIdle: boolean): void {
  held -= room.length;
  if (isIdle && room.length === ROOM_BYTES && held + (free.length + 1) * ROOM_BYTES <= ALL_BYTES) free.push(room);
  else if (isIdle) drop(room);
  if (held === 0) for (const spare of free.splice(KEPT)) drop(spare);
  waiting.shift()?.();
}

/** At once, not when the garbage collector comes to it: whoever waits gets memory that is warm. */
function drop(room: Buffer): void {
  (room.buffer as ArrayBuffer).transfer(0);
}

/** When it is the caller's turn to take more; at the latest after some time. */
export async function turn(): Promise<void> {
  if (!areScarce()) return;
  await new Promise<void>((resolve) => {
    const begin = (): void => {
      clearTimeout(timer);
      const at = waiting.indexOf(begin);
      if (at >= 0) waiting.splice(at, 1);
      resolve();
    };
    const timer = setTimeout(begin, TURN_MS);
    waiting.push(begin);
  });
}
