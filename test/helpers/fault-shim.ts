// Owns the fault build's own calls: rules that make chosen completions of this thread's ring go wrong (native/fault-hooks.h).
// Assumes `make fault`, and a process that loaded that library as its shim (BUN_URING_LIB = FAULT_LIB).
// Never changes what is in the kernel already when a rule is set.

import { dlopen, FFIType, ptr } from "bun:ffi";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Ring } from "../../src/ring/ring.ts";

/** The second shim, or the one with sanitizers; the tests that need it start children with BUN_URING_LIB set to it. */
export const FAULT_LIB: string =
  process.env.BUN_URING_FAULT_LIB ?? join(import.meta.dir, "../../build/liburing-shim-fault.so");
export const hasFaultBuild = (): boolean => existsSync(FAULT_LIB);

/** What happens to a completion that a rule hits. */
export type FaultAction =
  /** `res` is this, and the operation is not done: a failure breaks the links behind it as a true one does. */
  | { result: number }
  /** So many bytes fewer are transferred, at least one; only transfers are hit, and their chain breaks. */
  | { shortBy: number }
  /** At most so many bytes are transferred. */
  | { shortTo: number }
  | { delayMs: number }
  | { drop: true }
  | { duplicate: true }
  /** A CQE for an earlier life of the slot comes first; or for a slot that does not exist. */
  | { stale: "generation" | "slot" };

export type FaultRule = FaultAction & {
  /** One of Opcode; all of them by default. */
  opcode?: number;
  /** The first completion that is hit, from 1, in the order of submission (default 1); 0: by `chance`. */
  nth?: number;
  /** How many are hit (default 1; Infinity: all from the nth on). */
  times?: number;
  /** Of a million, with nth 0. */
  chance?: number;
};

const WORDS = 8;
const FOR_EVER = 0xffff_ffff;
const { i32, u32, ptr: pointer, void: nothing } = FFIType;

let symbols: { set: (...args: any[]) => number; clear: (ring: number) => void; hits: (...args: any[]) => number };

function library(): typeof symbols {
  if (symbols === undefined) {
    const loaded = dlopen(FAULT_LIB, {
      bun_uring_fault_set: { args: [pointer, pointer, u32, u32], returns: i32 },
      bun_uring_fault_clear: { args: [pointer], returns: nothing },
      bun_uring_fault_hits: { args: [pointer, u32], returns: i32 },
    }).symbols as any;
    symbols = {
      set: loaded.bun_uring_fault_set,
      clear: loaded.bun_uring_fault_clear,
      hits: loaded.bun_uring_fault_hits,
    };
  }
  return symbols;
}

function encode(rule: FaultRule, words: Int32Array, at: number): void {
  const { opcode = -1, nth = 1, times = 1, chance = 0 } = rule;
  const [action, value] =
    "result" in rule
      ? [0, rule.result]
      : "shortBy" in rule
        ? [1, rule.shortBy]
        : "shortTo" in rule
          ? [2, rule.shortTo]
          : "delayMs" in rule
            ? [3, rule.delayMs]
            : "drop" in rule
              ? [4, 0]
              : "duplicate" in rule
                ? [5, 0]
                : [6, rule.stale === "slot" ? 1 : 0];
  words.set([opcode, nth, Math.min(times, FOR_EVER), chance, action, value], at);
}

/** Puts these rules in the place of those that there are; the first that hits an operation decides. */
export function setFaults(ring: Ring, rules: readonly FaultRule[], seed = 1): void {
  const words = new Int32Array(Math.max(1, rules.length) * WORDS);
  for (const [i, rule] of rules.entries()) encode(rule, words, i * WORDS);
  const rc = library().set(ring.address, ptr(words), rules.length, seed);
  if (rc < 0) throw new Error(`fault_set: ${rc}`);
}

/** Ends all rules. What they have held back still comes. */
export function clearFaults(ring: Ring): void {
  library().clear(ring.address);
}

/** How often rule number `rule` has hit since it was set. */
export function faultHits(ring: Ring, rule = 0): number {
  return library().hits(ring.address, rule);
}
