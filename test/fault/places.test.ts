// Where a path leads while a file server is mounted: what is local goes the local way though its name is not cached, and a link
// that is not cached loses nothing of what the server says at the close.
// Assumes root, /dev/fuse and loop devices: a file system that was mounted anew has no name in the caches.

import { afterAll, beforeAll, expect } from "bun:test";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { appendFile, copyFile, stats, unlink, writeFile } from "../../src/index.ts";
import { type RingThread, ringThread } from "../../src/ring/context.ts";
import { Place } from "../../src/ring/remote-mounts.ts";
import { outcome } from "../helpers/cases.ts";
import { type Fuse, startFuse } from "../helpers/fuse.ts";
import { type LoopMount, mountExt4 } from "../helpers/mounts.ts";
import { faultTest, missing } from "../helpers/requirements.ts";
import { lacking } from "../helpers/ring-needs.ts";
import { describeUnless } from "../helpers/skip.ts";

const needs = ["fuse", "gcc", "loop", "ioUring"] as const;
const LINKS = ["written", "long", "appended", "copied"];
let fuse: Fuse;
let local: LoopMount;

const mounts = (): RingThread["mounts"] => (ringThread() as RingThread).mounts;

// By a plain call it is seen whether a name is a link.
const why = missing(needs) ?? lacking("plain calls that can't block", "direct descriptors that close at once");
describeUnless(why, "while a file server is mounted", () => {
  beforeAll(async () => {
    fuse = await startFuse();
    local = mountExt4({ bytes: 32 << 20 });
    mkdirSync(join(local.path, "folder"));
    for (const name of ["cold", "source"]) writeFileSync(join(local.path, "folder", name), name);
    symlinkSync(fuse.path, join(local.path, "folder/server"));
    for (const name of LINKS) {
      writeFileSync(join(fuse.path, name), "");
      symlinkSync(join(fuse.path, name), join(local.path, "folder", name));
    }
    local.remount();
    readFileSync(join(local.path, "folder/source")); // the folder is cached then
  });

  afterAll(async () => {
    await local.unmount();
    await fuse.stop();
  });

  faultTest(
    "a name that is not cached is local unless it is a link; a name that is not followed is local",
    { needs },
    () => {
      const at = (name: string): string => join(local.path, "folder", name);
      const m = mounts();
      const placeOf = (path: string | Buffer): Place => m.placeOf(path);
      const holdsName = (path: string): boolean => m.holdsName(path);
      const holdsPath = (path: string): boolean => m.holdsPath(path);
      expect([placeOf(at("new")), placeOf(Buffer.from(at("cold"))), placeOf(at("written"))]).toEqual([1, 1, 1]);
      expect(Place.unlessLink).toBe(1);
      expect([holdsName(at("new")), holdsName(at("cold")), holdsName(at("written"))]).toEqual([false, false, false]);
      expect([holdsPath(at("new")), placeOf(at("source"))]).toEqual([true, Place.local]);
      // Nothing is known of what lies in a folder that is not cached, nor of a name that stands for another.
      expect([holdsName(at("none/new")), holdsName(at("cold/"))]).toEqual([true, true]);
    },
  );

  faultTest("what the server says at the close is heard through a link that is not cached", { needs }, async () => {
    const at = (name: string): string => join(local.path, "folder", name);
    await fuse.mode({ mode: "error", errno: 28, ops: ["flush"] });
    const results = [
      await outcome(writeFile(at("written"), "data")),
      await outcome(writeFile(Buffer.from(at("long")), Buffer.alloc(700_000))),
      await outcome(appendFile(at("appended"), "more")),
      await outcome(copyFile(at("source"), at("copied"))),
    ];
    await fuse.mode({ mode: "ok" });
    const refused = { code: "ENOSPC", errno: -28 };
    expect(results).toMatchObject([refused, refused, refused, refused]);
    expect(readFileSync(join(fuse.path, "written"), "utf8")).toBe("data");
    expect(mounts().holdsPath(at("written"))).toBe(true);
    expect(mounts().holdsName(at("server"))).toBe(false);
    expect(mounts().holdsName(at("server/x"))).toBe(true);
  });

  faultTest(
    "a new file, and one whose name is not cached, are written as they are without a file server",
    { needs },
    async () => {
      const at = (name: string): string => join(local.path, "folder", name);
      const { remote } = ringThread() as RingThread;
      const counts: number[] = [];
      const watched = async (work: Promise<unknown>): Promise<void> => {
        counts.push(remote.counts.underWay);
        await work;
      };
      await watched(writeFile(at("made"), "made"));
      await watched(writeFile(at("cold"), "written over"));
      const { submitted } = stats();
      await Promise.all(Array.from({ length: 8 }, (_, i) => copyFile(at("source"), at(`copy${i}`))));
      expect(stats().submitted - submitted).toBeLessThanOrEqual(8 * 5); // a chain each
      await watched(unlink(at("source")));
      expect(counts).toEqual([0, 0, 0]);
      expect([readFileSync(at("made"), "utf8"), readFileSync(at("cold"), "utf8")]).toEqual(["made", "written over"]);
    },
  );
});
