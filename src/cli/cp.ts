// `bun-uring cp`: works out what is to be copied where, refuses what would end badly, copies, and compares if asked.
// Assumes the library as a value, so that the command line can say in one line why it can't be loaded.
// Never leaves a file half-written: that is copyFile's and copyTree's promise, kept here on interruption too.

import type { Stats } from "node:fs";
import { readdir, realpath } from "node:fs/promises";
import { basename, join, relative, resolve, sep } from "node:path";
import type { Library } from "./library.ts";
import { type Amount, withProgress } from "./progress.ts";
import { bytesText, countText, durationText } from "./text.ts";
import { compare } from "./verify.ts";

interface CopyRequest {
  readonly source: string;
  readonly destination: string;
  readonly recursive: boolean;
  /** Past the page cache, with O_DIRECT. */
  readonly direct: boolean;
  /** Compare every byte, type, link target and permission afterwards. */
  readonly verify: boolean;
}

/** A request that can't be carried out; its message is for the user. */
class Refusal extends Error {}

/** Copies, and writes progress and a summary to stdout. Throws a Refusal, the operation's error, or the signal's reason. */
export async function copy(library: Library, request: CopyRequest, signal: AbortSignal): Promise<void> {
  const planned = await plan(library, request);
  const { from, to, isTree } = planned;
  const total = isTree ? await measureTree(library, from, signal) : await measureFile(library, from);
  const started = performance.now();
  const copied = await withProgress("copying", total, process.stdout, (report) =>
    run(library, planned, request, signal, report),
  );
  say("copied", copied, started);
  if (copied.skipped > 0)
    console.log(`passed over ${countText(copied.skipped, "FIFO, socket or device", "FIFOs, sockets or devices")}`);
  if (!request.verify) return;
  const verifying = performance.now();
  const difference = await withProgress("verifying", copied, process.stdout, (report) =>
    compare(library, from, to, signal, report),
  );
  if (difference !== null) throw new Error(`verification failed: ${difference}`);
  say("verified", copied, verifying);
}

interface Plan {
  readonly from: string;
  readonly to: string;
  readonly isTree: boolean;
}

async function plan(library: Library, { source, destination, recursive }: CopyRequest): Promise<Plan> {
  const what = await library.stat(source);
  const isTree = what.isDirectory();
  if (isTree && !recursive) throw new Refusal(`'${source}' is a directory; use -r to copy it`);
  if (!isTree && !what.isFile()) throw new Refusal(`'${source}' is neither a regular file nor a directory`);
  const from = await realpath(source);
  const there = await statIfAny(library, destination);
  const to = there?.isDirectory() ? join(destination, basename(resolve(source))) : destination;
  const target = to === destination ? there : await statIfAny(library, to);
  if (target !== null) refuseTarget(what, target, source, to);
  if (isTree) await refuseInside(from, to, source);
  return { from, to, isTree };
}

async function statIfAny(library: Library, path: string): Promise<Stats | null> {
  try {
    return await library.stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

function refuseTarget(what: Stats, target: Stats, source: string, to: string): void {
  if (what.dev === target.dev && what.ino === target.ino)
    throw new Refusal(`'${source}' and '${to}' are the same file`);
  if (what.isDirectory() && !target.isDirectory()) throw new Refusal(`'${to}' exists and is not a directory`);
  if (!what.isDirectory() && !target.isFile()) throw new Refusal(`'${to}' exists and is not a regular file`);
}

/** A tree copied into itself would never end. */
async function refuseInside(from: string, to: string, source: string): Promise<void> {
  const parent = await realpath(resolve(to, "..")).catch(() => null);
  if (parent === null) return;
  const path = relative(from, parent);
  if (path === "" || (path !== ".." && !path.startsWith(`..${sep}`)))
    throw new Refusal(`'${source}' can't be copied into itself, '${to}'`);
}

async function measureFile(library: Library, path: string): Promise<Amount> {
  return { files: 1, bytes: (await library.stat(path)).size };
}

async function measureTree(library: Library, root: string, signal: AbortSignal): Promise<Amount> {
  const total: Amount = { files: 0, bytes: 0 };
  const folders = [root];
  for (const folder of folders) {
    signal.throwIfAborted();
    const entries = await readdir(folder, { withFileTypes: true });
    for (const entry of entries) if (entry.isDirectory()) folders.push(join(folder, entry.name));
    const files = entries.filter((entry) => entry.isFile());
    const sizes = await Promise.all(files.map(async (entry) => (await library.lstat(join(folder, entry.name))).size));
    total.files += files.length;
    total.bytes += sizes.reduce((sum, size) => sum + size, 0);
  }
  return total;
}

type Report = (done: Amount) => void;

/** Copies one file, or a tree; resolves to what was copied. */
async function run(
  library: Library,
  { from, to, isTree }: Plan,
  { direct }: CopyRequest,
  signal: AbortSignal,
  report: Report,
): Promise<Amount & { skipped: number }> {
  if (isTree) return library.copyTree(from, to, { direct, signal, onProgress: report });
  let bytes = 0;
  await library.copyFile(from, to, {
    direct,
    signal,
    onProgress: ({ bytesCopied }) => {
      bytes = bytesCopied;
      report({ files: 0, bytes });
    },
  });
  return { files: 1, bytes, skipped: 0 };
}

function say(verb: string, { files, bytes }: Amount, startedMs: number): void {
  const seconds = (performance.now() - startedMs) / 1000;
  const rate = bytesText(Math.round(bytes / seconds));
  console.log(`${verb} ${countText(files, "file")}, ${bytesText(bytes)} in ${durationText(seconds)} (${rate}/s)`);
}
