// Owns rings of a few entries for the tests of floors 2 and 3, and raw operations on them, without the floors above.
// Assumes a kernel that gives rings. Never touches the thread's own ring.

import { closeSync, openSync } from "node:fs";
import { stableAddress } from "../../src/kernel/address.ts";
import { Opcode, SqeFlag, writeSqe } from "../../src/kernel/sqe.ts";
import { RingThread } from "../../src/ring/context.ts";
import { type InFlightOwner, LINK_SHIFT, type Operation, promiseFor } from "../../src/ring/operation.ts";
import type { Ring } from "../../src/ring/ring.ts";
import { type SetupOptions, setUp } from "../../src/ring/setup.ts";

export function smallThread(options: SetupOptions = { entries: 8, cqEntries: 8 }): RingThread {
  const setup = setUp(options);
  if (!("ring" in setup)) throw new Error(`no ring: ${setup.message}`);
  return new RingThread(setup);
}

/** What one SQE is made of; `flags` 0 and fd -1 where they don't matter. */
export interface Link {
  opcode: number;
  fd?: number;
  view?: Uint8Array;
  flags?: number;
}

/** Stages linked SQEs as one operation; resolves to the results in the order of the links. */
export function submitChain(ring: Ring, links: readonly Link[], owner: InFlightOwner | null = null): Promise<number[]> {
  const results: number[] = [];
  const operation = ring.acquire((op, res, _flags, link) => {
    results[link] = res;
    if (op.pending > 0) return;
    const { resolve } = op;
    if (owner !== null) owner.inFlight--;
    ring.operations.release(op);
    resolve(results);
  }, links.length);
  operation.owner = owner;
  if (owner !== null) owner.inFlight++;
  const promise: Promise<number[]> = promiseFor(operation);
  links.forEach((link, n) => {
    const last = n === links.length - 1;
    const flags = (link.flags ?? 0) | (last ? 0 : SqeFlag.IO_LINK);
    const { opcode, fd = -1, view } = link;
    const address = view === undefined ? 0 : stableAddress(view, 0);
    const i = ring.next();
    const low = operation.slot | (n << LINK_SHIFT);
    writeSqe(ring.words, i, opcode, flags, fd, -1, address, view?.byteLength ?? 0, 0, low, operation.generation);
  });
  operation.state = links; // roots the views
  return promise;
}

/** One SQE; resolves to its result. */
export async function submitOne(ring: Ring, link: Link, owner: InFlightOwner | null = null): Promise<number> {
  return (await submitChain(ring, [link], owner))[0]!;
}

export const nop = (ring: Ring): Promise<number> => submitOne(ring, { opcode: Opcode.NOP });

/** Stages a NOP whose user_data is nobody's, or somebody's. */
export function stageForged(ring: Ring, low: number, high: number): void {
  const i = ring.next();
  writeSqe(ring.words, i, Opcode.NOP, 0, -1, 0, 0, 0, 0, low, high);
}

/** A read that stays in the kernel until the FIFO at `path` is fed. */
export function parkRead(
  ring: Ring,
  path: string,
  byteLength = 8,
): { read: Promise<number>; view: Buffer; fd: number } {
  const fd = openSync(path, "r+");
  const view = Buffer.alloc(byteLength);
  return { read: submitOne(ring, { opcode: Opcode.READ, fd, view }), view, fd };
}

/** The operations that wait for a CQE. */
export const waitingOf = (ring: Ring): Operation[] => [...ring.operations.waiting()];

/** Ends a ring with everything it has in flight. */
export function endThread(t: RingThread, fds: readonly number[] = []): void {
  t.loop.close();
  t.ring.close(1000);
  for (const fd of fds) closeSync(fd);
}

/** What became of a promise within so many turns of the event loop. */
export async function outcomeWithin(promise: Promise<unknown>, ms = 2000): Promise<string> {
  const late = Bun.sleep(ms).then(() => "pending");
  return Promise.race([
    promise.then(
      () => "resolved",
      (error: Error) => `rejected: ${error.message}`,
    ),
    late,
  ]);
}
