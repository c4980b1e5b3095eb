// What the steps of the tour share: the package's faces, a folder of the tour's own, comparison, and the skip with its reason.

import { mkdtempSync, realpathSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const project = process.env["PROJECT"] ?? join(import.meta.dir, "../..");
const entry = join(project, process.env["ENTRY"] ?? "src/index.ts");
const beside = (name: string): string => join(dirname(entry), entry.endsWith(".ts") ? `${name}.ts` : `${name}.js`);
export const fs: typeof import("../../src/index.ts") = await import(entry);
export const server: typeof import("../../src/server.ts") = await import(beside("server"));
export const durable: typeof import("../../src/durable.ts") = await import(beside("durable"));
export const dir: string = realpathSync(mkdtempSync(join(tmpdir(), "bun-uring-tour-")));
export const at = (name: string): string => join(dir, name);
/** Thrown where the machine, not the package, lacks something. */
export class Skip extends Error {}

export function equal(found: unknown, wanted: unknown): void {
  if (JSON.stringify(found) !== JSON.stringify(wanted))
    throw new Error(`${JSON.stringify(found)} and not ${JSON.stringify(wanted)}`);
}

export function codeOf(promise: Promise<unknown>): Promise<unknown> {
  const code = (error: any): unknown => error.code ?? error.name;
  return promise.then(() => "resolved", code);
}

export async function gathered<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export const user: number = process.getuid!();
export const group: number = process.getgid!();
export const script = "#!/bin/sh\nexit 0\n";

/** A file is closed when its promise settles: otherwise it could not be executed (ETXTBSY). */
export function executable(path: string): void {
  equal(Bun.spawnSync([path]).exitCode, 0);
}

/** Extended attributes of users: not on a tmpfs of an older kernel. */
export async function withXattr(work: () => Promise<void>): Promise<void> {
  const code = await codeOf(fs.setxattr(at("a"), "user.tour", Buffer.from("v")));
  if (code !== "resolved") throw new Skip(code === "ENOTSUP" ? "not on this file system" : "not on this kernel");
  await work();
}

type Handle = Awaited<ReturnType<typeof fs.open>>;

export async function withFile(name: string, flags: string, work: (handle: Handle) => Promise<void>): Promise<void> {
  writeFileSync(at(name), "hello");
  const handle = await fs.open(at(name), flags);
  try {
    await work(handle);
  } finally {
    await handle.close();
  }
}
