// What the demo copies, and the proof that it was copied: chooses trees that this machine has, and compares two trees.
// Assumes Linux. Uses node:fs only, so that what is proved is not proved by what is to be proved.

import {
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
  type Stats,
} from "node:fs";
import { join } from "node:path";

export interface Tree {
  readonly root: string;
  readonly files: number;
  readonly directories: number;
  readonly symlinks: number;
  readonly bytes: number;
  readonly largest: { readonly path: string; readonly bytes: number };
}

/** Enough for a measurement that means something, and not so much that it takes minutes. */
const ENOUGH = { files: 6000, bytes: 300e6 };
const TOO_MUCH_BYTES = 800e6;

/** Trees of this machine, the first of `roots` that exist until there is enough of them. */
export function chooseTrees(roots: readonly string[]): Tree[] {
  const chosen: Tree[] = [];
  for (const root of new Set(roots.filter((path) => existsSync(path)).map((path) => realpathSync(path)))) {
    const { files, bytes } = sumOf(chosen);
    if (files >= ENOUGH.files && bytes >= ENOUGH.bytes) break;
    const tree = measure(root);
    if (bytes + tree.bytes <= TOO_MUCH_BYTES) chosen.push(tree);
  }
  return chosen;
}

export function sumOf(trees: readonly Tree[]): Omit<Tree, "root"> {
  const sum = { files: 0, directories: 0, symlinks: 0, bytes: 0, largest: { path: "", bytes: 0 } };
  for (const tree of trees) {
    sum.files += tree.files;
    sum.directories += tree.directories;
    sum.symlinks += tree.symlinks;
    sum.bytes += tree.bytes;
    if (tree.largest.bytes > sum.largest.bytes) sum.largest = tree.largest;
  }
  return sum;
}

function measure(root: string): Tree {
  const tree = { root, files: 0, directories: 1, symlinks: 0, bytes: 0, largest: { path: root, bytes: 0 } };
  const folders = [root];
  for (const folder of folders) {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) folders.push(path);
      if (entry.isDirectory()) tree.directories++;
      else if (entry.isSymbolicLink()) tree.symlinks++;
      else if (entry.isFile()) {
        const { size } = lstatSync(path);
        tree.files++;
        tree.bytes += size;
        if (size > tree.largest.bytes) tree.largest = { path, bytes: size };
      }
    }
  }
  return tree;
}

/** Compares names, types, permissions, link targets and every byte. Returns the differences, none if all is well. */
export function differences(from: string, to: string): string[] {
  const found: string[] = [];
  const folders: [string, string][] = [[from, to]];
  for (const [ours, theirs] of folders) {
    const names = readdirSync(ours).sort();
    const copied = readdirSync(theirs).sort();
    if (names.join("\0") !== copied.join("\0")) found.push(`${theirs}: other names than in ${ours}`);
    for (const name of names.filter((one) => copied.includes(one))) {
      const pair: [string, string] = [join(ours, name), join(theirs, name)];
      const difference = differenceOf(...pair);
      if (difference !== null) found.push(`${pair[1]}: ${difference}`);
      else if (lstatSync(pair[0]).isDirectory()) folders.push(pair);
    }
  }
  return found;
}

function differenceOf(from: string, to: string): string | null {
  const [ours, theirs] = [lstatSync(from), lstatSync(to)];
  if (ours.mode !== theirs.mode) return `mode ${theirs.mode.toString(8)}, not ${ours.mode.toString(8)}`;
  if (ours.isSymbolicLink()) return readlinkSync(from) === readlinkSync(to) ? null : "another link target";
  if (!ours.isFile()) return null;
  if (ours.size !== theirs.size) return `${theirs.size} bytes, not ${ours.size}`;
  return sameBytes(from, to, ours) ? null : "other bytes";
}

const PIECE_BYTES = 1 << 20;
const pieces = [Buffer.alloc(PIECE_BYTES), Buffer.alloc(PIECE_BYTES)] as const;

function sameBytes(from: string, to: string, { size }: Stats): boolean {
  if (size <= PIECE_BYTES) return readFileSync(from).equals(readFileSync(to));
  const fds = [openSync(from, "r"), openSync(to, "r")] as const;
  try {
    for (let position = 0; position < size; position += PIECE_BYTES) {
      const [ours, theirs] = fds.map((fd, i) =>
        pieces[i]!.subarray(0, readSync(fd, pieces[i]!, 0, PIECE_BYTES, position)),
      );
      if (!ours!.equals(theirs!)) return false;
    }
    return true;
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}
