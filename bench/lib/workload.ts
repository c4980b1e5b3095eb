// What a bench is made of. A workload is one kind of work on files that it makes; its contenders are the ways to do it.
// Assumes that every contender of one workload does the same work on the same files. Measures nothing itself.

/** One open contender, in its own process. */
export interface Operation {
  /** Does one operation, or for a job the whole of it. Lanes run beside each other: 0 … depth − 1. */
  run(lane: number): unknown;
  /** Called before every round, and not measured: the round's own new folder, of a workload that has `scratch`. */
  begin?(scratch: string): unknown;
  close?(): unknown;
}

/** What a job may return when it is itself many operations that something else has counted and timed. */
export class Counted {
  constructor(
    readonly operations: number,
    readonly p50Ns: number,
    readonly p99Ns: number,
  ) {}
}

/**
 * - `ours`: this package by the function that a user would take first; the ratios are about it.
 * - `more`: this package by another function, shown beside it.
 * - `peer`: an asynchronous function of Bun; the best one is what ours is compared with.
 * - `sync`: a blocking call, which holds up the event loop; shown, never the measure.
 */
export type ContenderKind = "ours" | "more" | "peer" | "sync";

export interface Contender {
  readonly label: string;
  readonly kind: ContenderKind;
  /** The peer that ours is compared with, where it is not the fastest one. */
  readonly reference?: boolean;
  /** Also measured under Node.js, where that is installed; the label then says so. */
  readonly node?: boolean;
  /** The depths it is measured at; all of the workload's when absent. */
  readonly depths?: readonly number[];
  /** One run is so many operations, and runs come one after the other: the depth is inside. Rates only. */
  readonly batch?: number;
  open(folder: string, depth: number): Operation | Promise<Operation>;
}

/** The same work by the C program of bench/c. */
export interface Ceiling {
  readonly label: string;
  /** The C program's name of it. */
  readonly program: string;
  /** The one that ours is compared with, when there are several. */
  readonly reference?: boolean;
  readonly depths?: readonly number[];
}

/** The same work by a command, such as `cp -r`. Jobs only. */
export interface Command {
  readonly label: string;
  argv(folder: string, scratch: string): readonly string[];
}

/** The same work by fio's io_uring engine, for `make bench-fio`: O_DIRECT, registered file and buffers. */
export interface FioJob {
  /** Below the workload's folder; there already, and as large as it will be. */
  readonly file: string;
  readonly mode: "randread" | "randwrite";
  readonly block: number;
}

/** What is to be reached at one depth. Ratios of medians; times are ours against theirs. */
export interface Target {
  /** At least so many times as fast as the best peer. */
  readonly peer?: number;
  /** At most this part of that peer's CPU time. */
  readonly cpu?: number;
  /** At most this part of that peer's p99. */
  readonly p99?: number;
  /** At most so many times the time of the first blocking call. */
  readonly sync?: number;
  /** At most so many times the ceiling's time. */
  readonly ceiling?: number;
  /** At most so many times the command's time. */
  readonly command?: number;
  /** At least this part of fio's rate. */
  readonly fio?: number;
}

export interface Workload {
  readonly title: string;
  /** One line: what is in the cache and what is not, how large, which order. */
  readonly conditions: string;
  /** `rate`: operations of microseconds, many a round. `job`: one long piece of work is a round. */
  readonly shape: "rate" | "job";
  readonly depths: readonly number[];
  /** Bytes of one operation, or of the whole job; 0 where the row has no MB/s. */
  readonly bytes: number;
  /** Files or blocks that one job handles: times are shown per one of them. 1 for rates. */
  readonly operations?: number;
  readonly contenders: readonly Contender[];
  readonly ceilings?: readonly Ceiling[];
  readonly commands?: readonly Command[];
  readonly fio?: FioJob;
  readonly targets?: Readonly<Record<number, Target>>;
  /** Makes the files that are not there yet. The folder is removed at the end of the run. */
  setup(folder: string): void | Promise<void>;
  /** Workloads with the same name here share a folder, and the files that the first of them has made. */
  readonly files?: string;
  /** Every round creates or deletes files: each gets a new folder, and none is deleted before the end of the run. */
  readonly scratch?: boolean;
  /** Before every round: makes what it needs in its scratch folder, or puts back what a round has changed. Not measured. */
  prepare?(folder: string, scratch: string): void | Promise<void>;
}

/** What one round of one contender measured. */
export interface Round {
  readonly nsPerOp: number;
  readonly cpuNsPerOp: number;
  /** Of single operations, each timed by itself; absent for ceilings and commands. */
  readonly p50Ns?: number;
  readonly p99Ns?: number;
  /** How late the event loop came back to a 5 ms timer at worst, without the time that it waited for a processor. */
  readonly loopGapMs?: number;
  readonly peakRssBytes?: number;
}

/** The library, loaded only in the processes that measure it. */
export function ours(): Promise<typeof import("../../src/index.ts")> {
  return import("../../src/index.ts");
}
