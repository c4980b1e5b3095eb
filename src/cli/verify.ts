// Compares what was copied with where it came from: types, permissions, link targets and every byte.
// Assumes that neither side changes meanwhile. What only the destination has is not looked at: a tree may be copied onto another.

import type { Stats } from "node:fs";
import { readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import type { Library } from "./library.ts";
import type { Amount } from "./progress.ts";

const CHUNK_BYTES = 512 * 1024;
const PERMISSIONS = 0o777;
/** Files compared at the same time. */
const CONCURRENCY = 8;

/** One comparison: what it works with, and how far it is. */
interface Comparison {
  readonly library: Library;
  readonly signal: AbortSignal;
  readonly report: (done: Amount) => void;
  readonly done: Amount;
}

/** The first difference found, in words; null if there is none. */
export async function compare(
  library: Library,
  from: string,
  to: string,
  signal: AbortSignal,
  report: (done: Amount) => void,
): Promise<string | null> {
  const comparison: Comparison = { library, signal, report, done: { files: 0, bytes: 0 } };
  const waiting: [string, string][] = [[from, to]];
  let difference: string | null = null;
  const work = async (): Promise<void> => {
    for (let pair = waiting.pop(); pair !== undefined && difference === null; pair = waiting.pop()) {
      signal.throwIfAborted();
      const found = await compareOne(comparison, ...pair, waiting);
      difference ??= found;
    }
  };
  while (waiting.length > 0 && difference === null) {
    await Promise.all(Array.from({ length: Math.min(CONCURRENCY, waiting.length) }, work));
  }
  return difference;
}

async function compareOne(
  comparison: Comparison,
  from: string,
  to: string,
  waiting: [string, string][],
): Promise<string | null> {
  const { lstat } = comparison.library;
  const [source, copied] = await Promise.all([lstat(from), lstat(to).catch(() => null)]);
  if (isSpecial(source)) return null;
  if (copied === null) return `'${to}' is missing`;
  if (typeOf(source) !== typeOf(copied)) return `'${to}' is a ${typeOf(copied)}, not a ${typeOf(source)}`;
  if (source.isSymbolicLink()) {
    const [target, copiedTarget] = await Promise.all([readlink(from), readlink(to)]);
    return target === copiedTarget ? null : `'${to}' links to '${copiedTarget}', not to '${target}'`;
  }
  if ((source.mode & PERMISSIONS) !== (copied.mode & PERMISSIONS)) return `'${to}' has other permissions`;
  if (source.isDirectory()) {
    for (const name of await readdir(from)) waiting.push([join(from, name), join(to, name)]);
    return null;
  }
  if (source.size !== copied.size) return `'${to}' has ${copied.size} bytes, not ${source.size}`;
  return compareContent(comparison, from, to, source.size);
}

/** FIFOs, sockets and devices: copyTree passes them over. */
function isSpecial(stats: Stats): boolean {
  return !stats.isFile() && !stats.isDirectory() && !stats.isSymbolicLink();
}

function typeOf(stats: Stats): string {
  if (stats.isFile()) return "file";
  if (stats.isDirectory()) return "directory";
  return stats.isSymbolicLink() ? "symbolic link" : "special file";
}

async function compareContent(
  { library, signal, report, done }: Comparison,
  from: string,
  to: string,
  size: number,
): Promise<string | null> {
  await using left = await library.open(from);
  await using right = await library.open(to);
  const ours = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, size));
  const theirs = Buffer.allocUnsafe(ours.length);
  for (let position = 0; position < size; ) {
    signal.throwIfAborted();
    const [here, there] = await Promise.all([fill(left, ours, position), fill(right, theirs, position)]);
    if (here !== there || here === 0 || ours.compare(theirs, 0, there, 0, here) !== 0)
      return `'${to}' differs from '${from}' within ${ours.length} bytes after byte ${position}`;
    position += here;
    done.bytes += here;
    report(done);
  }
  done.files++;
  return null;
}

/** Reads until the buffer is full or the file ends. */
async function fill(handle: Awaited<ReturnType<Library["open"]>>, buffer: Buffer, position: number): Promise<number> {
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}
