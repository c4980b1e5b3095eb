// Owns the child's half of a fault test: a fixture file names its cases, the parent (child.ts) picks one.
// Assumes stdout is the pipe to the parent; one line a message: "@event name json", "@result json", "@error json".
// Never ends the process: how a program ends by itself is part of what is tested.

import { accessSync, writeSync } from "node:fs";

export type Case = (input: any) => unknown;

/** Runs the case that the parent named. Call it as the fixture's last statement. */
export async function runCases(cases: Record<string, Case>): Promise<void> {
  const [name, input] = process.argv.slice(2) as [string, string];
  try {
    const value = await cases[name]!(JSON.parse(input));
    say("@result", value === undefined ? null : value);
  } catch (error) {
    say("@error", describeError(error));
    process.exitCode = 70;
  }
}

/** Tells the parent that a point was reached (child.ts, Child.event). */
export function event(name: string, value: unknown = null): void {
  say(`@event ${name}`, value);
}

function say(kind: string, value: unknown): void {
  writeSync(1, `${kind} ${JSON.stringify(value)}\n`);
}

/** An error as plain data: what the tests compare. */
export interface ErrorRecord {
  name: string;
  message: string;
  code?: string;
  errno?: number;
  syscall?: string;
  path?: string;
  dest?: string;
  bytesWritten?: number;
  stack?: string;
}

export function describeError(error: any): ErrorRecord {
  const { name, message, code, errno, syscall, path, dest, bytesWritten, stack } = error;
  return { name, message, code, errno, syscall, path, dest, bytesWritten, stack };
}

/** What became of a promise, as plain data without a stack: "value" for fulfilled. */
export async function outcome(promise: Promise<unknown>): Promise<"value" | Omit<ErrorRecord, "stack">> {
  try {
    await promise;
    return "value";
  } catch (error) {
    const { stack: _, ...record } = describeError(error);
    return record;
  }
}

/** Marks the stretch in which strace.ts counts system calls. */
export function mark(point: "begin" | "end"): void {
  try {
    accessSync(`/bun-uring-mark/${point}`);
  } catch {
    // It does not exist and need not: the call itself is the mark.
  }
}
