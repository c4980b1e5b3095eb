// Owns the shape of a mutation: one exact search and replacement in a file of src, and the test files that should notice.
// Assumes that lists are written by room (the files beside this one). Says nothing of how they are run: run.ts.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Which backend the tests run on: `ring` where the file is the ring's alone, `auto` where it is of a process's beginning. */
export type On = "ring" | "node" | "auto";

export interface Mutant {
  /** What it does wrong. */
  readonly name: string;
  /** The file, from the package's root. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  readonly put: string;
  /** Test files from the package's root. */
  readonly tests: readonly string[];
  readonly on: readonly On[];
  /** Why no quick test can notice it; such a mutation still counts as a survivor. */
  readonly survives?: string;
}

interface Room {
  /** Test files, without "test/" and ".test.ts". */
  tests: readonly string[];
  on?: readonly On[];
}

/** A mutation in a list: what it does wrong, what is replaced, what by, and what is other than the room's. */
type Row = readonly [name: string, find: string, put: string, other?: Partial<Room> & { survives?: string }];

/** The mutations of one file of src. */
export function inFile(file: string, { tests, on = ["ring", "node"] }: Room, rows: readonly Row[]): Mutant[] {
  return rows.map(([name, find, put, other = {}]) => ({
    name,
    file: `src/${file}`,
    find,
    put,
    tests: (other.tests ?? tests).map((test) => `test/${test}.test.ts`),
    on: other.on ?? on,
    ...(other.survives === undefined ? {} : { survives: other.survives }),
  }));
}

const root = join(import.meta.dir, "../..");

/** The mutations of all lists. */
export async function allMutants(): Promise<Mutant[]> {
  const lists = readdirSync(import.meta.dir).filter((name) => /^[a-z-]+\.list\.ts$/.test(name));
  const all = await Promise.all(lists.sort().map(async (name) => (await import(join(import.meta.dir, name))).default));
  return all.flat() as Mutant[];
}

/** What is wrong with the lists themselves. */
export function misfits(all: readonly Mutant[]): string[] {
  return all.flatMap(({ name, file, find, put, tests }) => {
    const where = `${file}: ${name}`;
    if (!existsSync(join(root, file))) return [`${where}: there is no such file`];
    const count = readFileSync(join(root, file), "utf8").split(find).length - 1;
    const missing = tests.filter((test) => !existsSync(join(root, test)));
    return [
      ...(count === 1 ? [] : [`${where}: what it replaces stands there ${count} times`]),
      ...(find === put ? [`${where}: it replaces nothing`] : []),
      ...missing.map((test) => `${where}: there is no ${test}`),
    ];
  });
}
