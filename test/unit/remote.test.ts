// Owns what is taken for a file system of a server, by the table of mounts and by devices; and the room that its operations get.
// Assumes tables and devices that the test makes up. Real mounts: test/fault/fuse.

import { beforeEach, describe, expect, test } from "bun:test";
import { symlinkSync } from "node:fs";
import type { Native } from "../../src/kernel/shim.ts";
import { Mounts, Place } from "../../src/ring/remote-mounts.ts";
import { RemoteWork } from "../../src/ring/remote-work.ts";
import { CELL_BYTES, Cell, type Cells } from "../../src/ring/scratch.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const EAGAIN = -11;
const LOCAL = "21 1 253:0 / / rw,relatime - ext4 /dev/vda rw\n";
/** A line of mountinfo. */
const line = (type: string, at: string, device = "0:45"): string => `36 21 ${device} / ${at} rw - ${type} server rw\n`;
/** Words of a struct statx that say the device. */
const [MAJOR, MINOR] = [34, 35];

describe("mounts", () => {
  const bytes = Buffer.alloc(CELL_BYTES);
  const cell = new Cell(4096, bytes, new Uint32Array(bytes.buffer, bytes.byteOffset, CELL_BYTES / 4), 0);
  let table = LOCAL;
  let hasChanged = 1;
  /** What the dentry cache knows of each path: a device, or -errno. */
  let known: [number, number] | number = -2;
  let cellsOut = 0;
  const cells = {
    acquire() {
      cellsOut++;
      return cell;
    },
    release() {
      cellsOut--;
    },
  } as unknown as Cells;
  /** The same of single paths; what was asked with AT_SYMLINK_NOFOLLOW is kept. */
  let knownOf: Record<string, [number, number] | number> = {};
  const say = (what: [number, number] | number): number => {
    if (typeof what === "number") return what;
    cell.words[cell.halfWord + MAJOR] = what[0];
    cell.words[cell.halfWord + MINOR] = what[1];
    return 0;
  };
  const answer = (): number => {
    const path = bytes.toString("utf8", 0, bytes.indexOf(0));
    return say(knownOf[path] ?? known);
  };
  const native = {
    mountsChanged: () => hasChanged,
    statCached: answer,
    fstat: () => say(known),
  } as unknown as Native;
  const mounts = (): Mounts => new Mounts(native, 0, cells, () => table);

  beforeEach(() => {
    hasChanged = 1;
    known = [253, 0];
    knownOf = {};
    cellsOut = 0;
  });

  test("types whose answers come from elsewhere, and those that are local", () => {
    const remote = "fuse fuseblk fuse.sshfs nfs nfs4 cifs smb3 9p ceph virtiofs glusterfs lustre afs".split(" ");
    const local = "ext4 xfs btrfs tmpfs overlay proc fusectl nfsd cgroup2 zfs".split(" ");
    const answers = (types: string[]): boolean[] =>
      types.map((type) => {
        table = LOCAL + line(type, "/mnt");
        return mounts().any;
      });
    expect(answers(remote)).toEqual(remote.map(() => true));
    expect(answers(local)).toEqual(local.map(() => false));
  });

  test("a path beneath a mount point, the point itself, and what only begins like it", () => {
    table = LOCAL + line("nfs", "/mnt/a\\040b") + line("fuse", "/srv/x");
    const m = mounts();
    const paths = [
      "/mnt/a b/file",
      "/mnt/a b",
      "/srv/x",
      "/srv/x/y",
      "/srv/../srv/x/y",
      "/srv/xy",
      "/srv",
      "/mnt/a",
      "/",
    ];
    expect(paths.map((path) => m.holdsPath(path))).toEqual([true, true, true, true, true, false, false, false, false]);
    expect(m.holdsPath(Buffer.from("/srv/x/y"))).toBe(true);
    expect(cellsOut).toBe(0);
  });

  test("what leads there from elsewhere is known by its device, both of its numbers", () => {
    table = LOCAL + line("fuse", "/srv", "7:45");
    const link = tmp.path("link");
    symlinkSync("/srv", link);
    const m = mounts();
    const of = (device: [number, number]): boolean => {
      known = device;
      return m.holdsPath(link);
    };
    expect([of([7, 45]), of([7, 46]), of([8, 45]), of([253, 0])]).toEqual([true, false, false, false]);
    const ofFile = (device: [number, number]): boolean => {
      known = device;
      return m.holdsFile(3, cell);
    };
    expect([ofFile([7, 45]), ofFile([7, 44])]).toEqual([true, false]);
    expect(cellsOut).toBe(0);
  });

  test("what nobody knows without asking may lead there; what is not there does not", () => {
    table = LOCAL + line("fuse", "/srv");
    const m = mounts();
    known = EAGAIN;
    expect(m.holdsPath("/elsewhere")).toBe(true);
    known = -2;
    expect(m.holdsPath("/elsewhere")).toBe(false);
    expect(cellsOut).toBe(0);
  });

  test("a name that is not cached: where its folder is, unless it is a link; nobody knows of a folder that is not cached", () => {
    table = LOCAL + line("fuse", "/srv", "7:45");
    const m = mounts();
    knownOf = { "/a/new": EAGAIN, "/a/": [253, 0], "/b/new": EAGAIN, "/b/": EAGAIN, "/c/new": EAGAIN, "/c/": [7, 45] };
    const { local, unlessLink, remote } = Place;
    expect(["/a/new", "/b/new", "/c/new", "/a/old"].map((path) => m.placeOf(path))).toEqual([
      unlessLink,
      remote,
      remote,
      local,
    ]);
    expect(["/a/new", "/b/new", "/c/new", "/a/old"].map((path) => m.holdsName(path))).toEqual([
      false,
      true,
      true,
      false,
    ]);
    knownOf["/a/.."] = EAGAIN;
    knownOf["/a/new/"] = EAGAIN;
    expect(["/a/..", "/a/new/"].map((path) => m.placeOf(path))).toEqual([remote, remote]);
    expect(cellsOut).toBe(0);
  });

  test("what is mounted later is seen, and so is what has gone", async () => {
    table = LOCAL;
    const m = mounts();
    const look = async (): Promise<boolean> => {
      await Bun.sleep(60); // it looks every 50 ms
      return m.any && m.holdsPath("/srv/x");
    };
    expect(m.any).toBe(false);
    table += line("fuse", "/other");
    expect([await look(), m.any]).toEqual([false, true]);
    table += line("fuse", "/srv");
    expect(await look()).toBe(true);
    hasChanged = 0; // nobody has said so: the table is not read again
    table = LOCAL;
    expect(await look()).toBe(true);
    hasChanged = 1;
    expect([await look(), m.any]).toEqual([false, false]);
  });

  test("no table: nothing is known to be remote", () => {
    const m = new Mounts(native, 0, cells, () => {
      throw new Error("no /proc");
    });
    expect([m.any, m.holdsPath("/srv")]).toEqual([false, false]);
  });
});

describe("room for what may wait for a server", () => {
  function work(bounded = 4): { remote: RemoteWork; asked: number[][]; ring: { address: number; closed: boolean } } {
    const asked: number[][] = [];
    const native = {
      capWorkers: (_: number, ...limits: number[]) => {
        asked.push(limits);
        return 0;
      },
    } as unknown as Native;
    const ring = { address: 1, closed: false };
    return { remote: new RemoteWork(native, ring, () => ({ bounded, unbounded: 8 })), asked, ring };
  }

  test("is made before it is needed, in steps, and ends with the last", () => {
    const { remote, asked } = work();
    for (let i = 0; i < 17; i++) {
      remote.enter();
      expect(remote.counts.room).toBeGreaterThanOrEqual(remote.counts.underWay);
    }
    expect(asked).toEqual([
      [20, 8],
      [36, 8],
    ]);
    for (let i = 0; i < 16; i++) remote.leave();
    expect(asked.length).toBe(2);
    remote.leave();
    expect([asked.at(-1)!, Object.values(remote.counts)]).toEqual([
      [4, 8],
      [0, 0],
    ]);
  });

  test("has an end", () => {
    const { remote, asked } = work();
    for (let i = 0; i < 1000; i++) remote.enter();
    expect([remote.counts.room, asked.at(-1)!]).toEqual([256, [260, 8]]);
  });

  test("limits that are set meanwhile keep it; where there are none, or no ring, nothing is asked", () => {
    const one = work();
    one.remote.enter();
    one.remote.apply({ bounded: 2, unbounded: 3 });
    expect(one.asked.at(-1)).toEqual([18, 3]);
    const none = work(0);
    none.remote.enter();
    const closed = work();
    closed.ring.closed = true;
    closed.remote.enter();
    expect([none.asked, closed.asked]).toEqual([[], []]);
  });
});
