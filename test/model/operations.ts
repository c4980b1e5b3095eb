// Owns the random operations: how each is drawn from a seed, done on a real folder, and foretold by the model.
// Assumes an implementation with the shape of node:fs/promises, and a folder nobody else touches.
// Never awaits two operations at once: the model is sequential.

import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import type { Fs } from "../helpers/backends.ts";
import { type FileNode, Model, ModelError, type ModelHandle, type Node } from "./model.ts";

/** A small, fast, seeded generator (mulberry32): the same seed gives the same operations everywhere. */
export class Random {
  constructor(private state: number) {}
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  below(n: number): number {
    return Math.floor(this.next() * n);
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

/** One operation with all its arguments drawn, so that it can be done on any implementation and printed. */
export interface Operation {
  name: string;
  args: readonly (string | number | boolean | null)[];
}

const NAMES = ["a", "b", "c", "d"] as const;
const FLAGS = ["r", "r+", "w", "w+", "wx", "a", "a+"] as const;
const SIZES = [0, 1, 7, 100, 1000, 1001, 4096, 5000, 70_000] as const;
/** Few enough handles that reads and writes hit files that changed under them. */
const HANDLES = 4;

type Draw = (random: Random) => Operation["args"];
const path = (random: Random): string =>
  Array.from({ length: 1 + random.below(3) }, () => random.pick(NAMES)).join("/");
const handle = (random: Random): number => random.below(HANDLES);
const position = (random: Random): number | null => (random.below(2) === 0 ? null : random.below(6000));
const data = (random: Random): [fill: number, size: number] => [1 + random.below(255), random.pick(SIZES)];

/** How often (weight) and with what arguments each operation is drawn. */
const DRAWS: Record<string, [weight: number, draw: Draw]> = {
  open: [6, (r) => [handle(r), path(r), r.pick(FLAGS)]],
  close: [3, (r) => [handle(r)]],
  read: [8, (r) => [handle(r), r.pick(SIZES), position(r)]],
  write: [8, (r) => [handle(r), ...data(r), position(r)]],
  readv: [3, (r) => [handle(r), r.pick(SIZES), 1 + r.below(50), position(r)]],
  writev: [3, (r) => [handle(r), ...data(r), position(r)]],
  handleReadFile: [2, (r) => [handle(r)]],
  handleWriteFile: [2, (r) => [handle(r), 1 + r.below(255), 1 + r.below(9000)]],
  ftruncate: [3, (r) => [handle(r), r.below(8000)]],
  fstat: [3, (r) => [handle(r)]],
  sync: [1, (r) => [handle(r), r.below(2) === 0]],
  readFile: [6, (r) => [path(r)]],
  writeFile: [6, (r) => [path(r), ...data(r)]],
  appendFile: [4, (r) => [path(r), ...data(r)]],
  truncate: [2, (r) => [path(r), r.below(8000)]],
  copyFile: [3, (r) => [path(r), path(r), r.below(3) === 0]],
  stat: [5, (r) => [path(r), r.below(2) === 0]],
  lstat: [3, (r) => [path(r)]],
  mkdir: [6, (r) => [path(r)]],
  mkdirRecursive: [3, (r) => [path(r)]],
  readdir: [4, (r) => [path(r)]],
  unlink: [4, (r) => [path(r)]],
  rmdir: [4, (r) => [path(r)]],
  rm: [2, (r) => [path(r), r.below(2) === 0]],
  link: [3, (r) => [path(r), path(r)]],
  rename: [5, (r) => [path(r), path(r)]],
};
const LOTS = Object.entries(DRAWS).flatMap(([name, [weight]]) => Array<string>(weight).fill(name));

export function drawOperation(random: Random): Operation {
  const name = random.pick(LOTS);
  return { name, args: DRAWS[name]![1](random) };
}

/** What an operation gave: a plain value, or a failure as its code. Comparable between model and implementations. */
export type Outcome = { value: unknown } | { code: string };

const digest = (bytes: Buffer): string => `${bytes.length}:${createHash("sha1").update(bytes).digest("hex")}`;
const filled = (fill: number, size: number): Buffer => Buffer.alloc(size, fill);

/** The model's side. */
export class ModelRun {
  private readonly model = new Model();
  private readonly handles: ((ModelHandle & { flags: string }) | undefined)[] = Array(HANDLES).fill(undefined);

  do({ name, args }: Operation): Outcome {
    try {
      return { value: this.call(name, args as any) };
    } catch (error) {
      if (error instanceof ModelError) return { code: error.code };
      throw error;
    }
  }

  private at(index: number, wants?: "read" | "write"): ModelHandle {
    const held = this.handles[index];
    if (held === undefined) throw new ModelError("NO_HANDLE");
    if (wants === "read" && held.file.kind === "folder") throw new ModelError("EISDIR");
    const refused = wants === "read" ? ["w", "wx", "a"] : wants === "write" ? ["r"] : [];
    if (refused.includes(held.flags)) throw new ModelError("EBADF");
    return held;
  }

  private call(name: string, [a, b, c, d]: any[]): unknown {
    const { model } = this;
    switch (name) {
      case "open":
        this.handles[a] = { ...model.open(b, c), flags: c };
        return null;
      case "close":
        this.at(a);
        this.handles[a] = undefined;
        return null;
      case "read":
        return digest(model.read(this.at(a, b === 0 ? undefined : "read"), b, c));
      case "readv":
        return digest(model.read(this.at(a, "read"), b + c, d));
      case "write":
        // Node returns at once for an empty buffer, even on a handle that cannot write.
        return model.write(this.at(a, c === 0 ? undefined : "write"), filled(b, c), d);
      case "writev":
        return model.write(this.at(a, "write"), Buffer.concat([filled(b, c), filled(b ^ 1, 3)]), d);
      case "handleReadFile":
        return digest(model.read(this.at(a, "read"), 2 ** 31, null));
      case "handleWriteFile":
        model.write(this.at(a, "write"), filled(b, c), null);
        return null;
      case "ftruncate": {
        const held = this.handles[a];
        // ftruncate(2) says EINVAL, not EBADF, for a descriptor that is not open for writing.
        if (held?.flags === "r") throw new ModelError("EINVAL");
        model.truncate(this.at(a).file as FileNode, b);
        return null;
      }
      case "fstat":
        return described(this.at(a).file);
      case "sync":
        this.at(a);
        return null;
      case "readFile":
        return digest(model.readFile(a));
      case "writeFile":
      case "appendFile":
        model.writeFile(a, filled(b, c), name === "writeFile" ? "w" : "a");
        return null;
      case "truncate":
        model.truncatePath(a, b);
        return null;
      case "copyFile":
        model.copyFile(a, b, c);
        return null;
      case "stat":
      case "lstat":
        return described(model.stat(a));
      case "mkdir":
        model.mkdir(a);
        return null;
      case "mkdirRecursive":
        return model.mkdirRecursive(a) ?? null;
      case "readdir":
        return model.readdir(a).join();
      case "unlink":
        model.unlink(a);
        return null;
      case "rmdir":
        model.rmdir(a);
        return null;
      case "rm":
        model.rmRecursive(a, b);
        return null;
      case "link":
        model.link(a, b);
        return null;
      case "rename":
        model.rename(a, b);
        return null;
      default:
        throw new Error(`no such operation: ${name}`);
    }
  }
}

/** The real side: the same operations through an implementation, below `root`. */
export class RealRun {
  private readonly handles: (FileHandle | undefined)[] = Array(HANDLES).fill(undefined);
  constructor(
    private readonly fs: Fs,
    private readonly root: string,
  ) {}

  async do({ name, args }: Operation): Promise<Outcome> {
    try {
      return { value: await this.call(name, args as any) };
    } catch (error: any) {
      if (typeof error?.code !== "string") throw error;
      return { code: error.code };
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.handles.map((held) => held?.close()));
  }

  private at(index: number): FileHandle {
    const held = this.handles[index];
    if (held === undefined) throw new ModelError("NO_HANDLE");
    return held;
  }

  private async call(name: string, [a, b, c, d]: any[]): Promise<unknown> {
    const { fs } = this;
    const full = (relative: string): string => join(this.root, relative);
    switch (name) {
      case "open": {
        const opened = await fs.open(full(b), c);
        await this.handles[a]?.close();
        this.handles[a] = opened;
        return null;
      }
      case "close":
        await this.at(a).close();
        this.handles[a] = undefined;
        return null;
      case "read": {
        const { bytesRead, buffer } = await this.at(a).read(Buffer.alloc(b), 0, b, c);
        return digest(buffer.subarray(0, bytesRead));
      }
      case "readv": {
        const { bytesRead, buffers } = await this.at(a).readv([Buffer.alloc(b), Buffer.alloc(c)], d ?? undefined);
        return digest(Buffer.concat(buffers).subarray(0, bytesRead));
      }
      case "write":
        return (await this.at(a).write(filled(b, c), 0, c, d)).bytesWritten;
      case "writev":
        return (await this.at(a).writev([filled(b, c), filled(b ^ 1, 3)], d ?? undefined)).bytesWritten;
      case "handleReadFile":
        return digest(await this.at(a).readFile());
      case "handleWriteFile":
        await this.at(a).writeFile(filled(b, c));
        return null;
      case "ftruncate":
        await this.at(a).truncate(b);
        return null;
      case "fstat":
        return describe(await this.at(a).stat());
      case "sync":
        await (b ? this.at(a).datasync() : this.at(a).sync());
        return null;
      case "readFile":
        return digest(await fs.readFile(full(a)));
      case "writeFile":
      case "appendFile":
        await fs[name](full(a), filled(b, c));
        return null;
      case "truncate":
        await fs.truncate(full(a), b);
        return null;
      case "copyFile":
        await fs.copyFile(full(a), full(b), c ? fs.constants.COPYFILE_EXCL : 0);
        return null;
      case "stat":
        return describe(await fs.stat(full(a), { bigint: b }));
      case "lstat":
        return describe(await fs.lstat(full(a)));
      case "mkdir":
        await fs.mkdir(full(a));
        return null;
      case "mkdirRecursive": {
        const first = await fs.mkdir(full(a), { recursive: true });
        return first === undefined ? null : first.slice(this.root.length + 1);
      }
      case "readdir":
        return (await fs.readdir(full(a))).sort().join();
      case "unlink":
        await fs.unlink(full(a));
        return null;
      case "rmdir":
        await fs.rmdir(full(a));
        return null;
      case "rm":
        await fs.rm(full(a), { recursive: true, force: b });
        return null;
      case "link":
        await fs.link(full(a), full(b));
        return null;
      case "rename":
        await fs.rename(full(a), full(b));
        return null;
      default:
        throw new Error(`no such operation: ${name}`);
    }
  }
}

function described(node: Node): string {
  return node.kind === "file" ? `file ${node.bytes.length} ${node.links}` : "folder";
}

function describe(stats: { isFile(): boolean; size: number | bigint; nlink: number | bigint }): string {
  return stats.isFile() ? `file ${stats.size} ${stats.nlink}` : "folder";
}
