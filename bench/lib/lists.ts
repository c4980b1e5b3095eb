// A list of paths in, a list of answers out: how a program without readMany or statMany does it.
// Assumes that all succeed; what fails ends the bench.

import { SMALL_FILES, shuffledSmallPaths } from "./files.ts";
import type { Contender } from "./workload.ts";

type About = Pick<Contender, "label" | "kind" | "node">;

/** A contender that works on all small files by one call for each. */
export function list(about: About, run: (paths: string[], depth: number) => unknown): Contender {
  return {
    ...about,
    batch: SMALL_FILES,
    open(folder, depth) {
      const paths = shuffledSmallPaths(folder);
      return { run: () => run(paths, depth) };
    },
  };
}

/** Calls `one` for every path, `depth` at a time, and keeps what each gave. */
export async function inLanes<T>(
  paths: readonly string[],
  depth: number,
  one: (path: string) => Promise<T>,
): Promise<T[]> {
  const answers = new Array<T>(paths.length);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < paths.length) {
      const i = next++;
      answers[i] = await one(paths[i]!);
    }
  };
  await Promise.all(Array.from({ length: depth }, lane));
  return answers;
}

/** Calls `one` for every path at once. */
export const allAtOnce = <T>(paths: readonly string[], one: (path: string) => Promise<T>): Promise<T[]> =>
  Promise.all(paths.map((path) => one(path)));
