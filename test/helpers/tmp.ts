// Owns the temporary files of the tests: unique folders, removed when the test file (or describe block) is done.
// Assumes tmpDir() and scratch() are called where bun:test takes hooks: at the top of a file or inside describe().
// Never removes anything it didn't create, and never uses the API under test to create or remove.

import { afterAll } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A unique empty folder under $BUN_URING_TEST_DIR, or the system's temporary folder; removed after the block. */
export function tmpDir(parent: string = process.env.BUN_URING_TEST_DIR ?? tmpdir()): string {
  const dir = mkdtempSync(join(parent, "bun-uring-test-"));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Hands out paths inside one temporary folder; every call gives a new name, so tests can run in any order. */
export interface Scratch {
  readonly dir: string;
  /** A path at which nothing exists yet. */
  path(name?: string): string;
  /** A new file with this content. */
  file(content?: string | Uint8Array, name?: string): string;
  /** A new empty folder. */
  folder(name?: string): string;
  /** A new FIFO. */
  fifo(name?: string): string;
  /** What this process's open descriptors below `dir` point at; empty when nothing leaked. */
  openFiles(): string[];
}

export function scratch(parent?: string): Scratch {
  const dir = tmpDir(parent);
  let count = 0;
  const path = (name = "p"): string => join(dir, `${name}-${count++}`);
  return {
    dir,
    path,
    file(content = "", name = "file") {
      const at = path(name);
      writeFileSync(at, content);
      return at;
    },
    folder(name = "folder") {
      const at = path(name);
      mkdirSync(at);
      return at;
    },
    fifo(name = "fifo") {
      const at = path(name);
      if (Bun.spawnSync(["mkfifo", at]).exitCode !== 0) throw new Error(`no FIFO can be made at ${at}`);
      return at;
    },
    openFiles() {
      return readdirSync("/proc/self/fd")
        .map(descriptorTarget)
        .filter((target) => target.startsWith(dir));
    },
  };
}

function descriptorTarget(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return ""; // The descriptor readdir itself used is gone by now.
  }
}

/** Bytes that differ at every position of a period longer than a page, so that a shifted read is seen. */
export function patternBytes(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed >>> 0 || 1;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
