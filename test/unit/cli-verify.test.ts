// Owns the comparison behind `cp --verify`: that it sees every kind of difference, and none where there is none.
// Assumes either backend. Never covers the copying.

import { describe, expect, test } from "bun:test";
import { chmodSync, cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compare } from "../../src/cli/verify.ts";
import * as library from "../../src/index.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const LARGE_BYTES = 1_500_000;

/** A tree and a copy of it that cp of node:fs made. */
function twoTrees(): { from: string; to: string } {
  const [from, to] = [tmp.folder("from"), tmp.path("to")];
  mkdirSync(join(from, "folder"));
  writeFileSync(join(from, "folder", "large"), patternBytes(LARGE_BYTES));
  writeFileSync(join(from, "small"), "small");
  writeFileSync(join(from, "empty"), "");
  symlinkSync("small", join(from, "link"));
  cpSync(from, to, { recursive: true, verbatimSymlinks: true });
  return { from, to };
}

const never = new AbortController().signal;

describe("compare", () => {
  test("two equal trees; what only the second has is not looked at; every byte is reported", async () => {
    const { from, to } = twoTrees();
    writeFileSync(join(to, "more"), "more");
    // copyTree passes a FIFO over.
    expect(Bun.spawnSync(["mkfifo", join(from, "fifo")]).exitCode).toBe(0);
    let last = { files: 0, bytes: 0 };
    expect(await compare(library, from, to, never, (done) => (last = { ...done }))).toBeNull();
    expect(last.bytes).toBe(LARGE_BYTES + "small".length);
  });

  test.each<[string, (to: string) => void, RegExp]>([
    ["a byte", (to) => overwrite(join(to, "folder", "large"), 1_400_000), /'.*large' differs from '.*large' within/],
    ["the last byte", (to) => overwrite(join(to, "folder", "large"), LARGE_BYTES - 1), /differs/],
    ["the size", (to) => writeFileSync(join(to, "small"), "smaller"), /has 7 bytes, not 5/],
    ["the permissions", (to) => chmodSync(join(to, "small"), 0o600), /has other permissions/],
    ["a file that is missing", (to) => rmSync(join(to, "empty")), /'.*empty' is missing/],
    ["a link's target", (to) => relink(join(to, "link"), "empty"), /links to 'empty', not to 'small'/],
    ["a file where a link was", (to) => unlinkAndWrite(join(to, "link"), "small"), /is a file, not a symbolic link/],
  ])("sees a difference: %s", async (_name, change, told) => {
    const { from, to } = twoTrees();
    change(to);
    expect(await compare(library, from, to, never, () => {})).toMatch(told);
    expect(tmp.openFiles()).toEqual([]);
  });

  test("an abort ends it", async () => {
    const { from, to } = twoTrees();
    const ended = compare(library, from, to, AbortSignal.abort(), () => {});
    await expect(ended).rejects.toMatchObject({ name: "AbortError" });
  });
});

function overwrite(path: string, position: number): void {
  const bytes = patternBytes(LARGE_BYTES);
  bytes[position]! ^= 1;
  writeFileSync(path, bytes);
}

function relink(path: string, target: string): void {
  rmSync(path);
  symlinkSync(target, path);
}

function unlinkAndWrite(path: string, text: string): void {
  rmSync(path);
  writeFileSync(path, text);
}
