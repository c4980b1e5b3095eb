// The workload of removing a tree, for trees of several forms.
// Assumes that a tree is made anew in every round's own folder; nothing of that is measured.

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { makeSmallFiles, SMALL_FILES } from "./files.ts";
import { type Operation, ours, type Target, type Workload } from "./workload.ts";

interface Form {
  readonly title: string;
  readonly filesPerFolder: number;
  readonly target: Target;
}

const treeIn = (scratch: string): string => join(scratch, "tree");

function remover(remove: (path: string) => unknown): Operation {
  let tree = "";
  return {
    begin(scratch) {
      tree = treeIn(scratch);
    },
    run: () => remove(tree),
  };
}

export function removal({ title, filesPerFolder, target }: Form): Workload {
  return {
    title,
    conditions: "4 KiB files just made, in the page cache and not synced; time is per file",
    shape: "job",
    depths: [1],
    bytes: 0,
    operations: SMALL_FILES,
    targets: { 1: target },
    setup: () => {},
    scratch: true,
    prepare: (_folder, scratch) => makeSmallFiles(scratch, "tree", SMALL_FILES, filesPerFolder),
    contenders: [
      {
        label: "bun-uring rm",
        kind: "ours",
        async open() {
          const library = await ours();
          return remover((path) => library.rm(path, { recursive: true }));
        },
      },
      {
        label: "fs.promises.rm",
        kind: "peer",
        node: true,
        open: () => remover((path) => rm(path, { recursive: true })),
      },
    ],
    commands: [{ label: "rm -rf", argv: (_folder, scratch) => ["rm", "-rf", treeIn(scratch)] }],
  };
}
