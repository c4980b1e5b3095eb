// Owns that a file's own position is shared as POSIX has it: what writeSync, readSync and children do with the same open
// file while a handle's operation is under way gets bytes of its own, none twice and none lost.
// Assumes `sh`. Never expects an order between what goes on at the same time.

import { expect } from "bun:test";
import { readFileSync, readSync, writeSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { forEachImplementation } from "../helpers/backends.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const lines = (path: string): string[] => readFileSync(path, "utf8").split("\n").filter(Boolean).sort();

/** Each writes one line. */
const WRITES: Record<string, (handle: FileHandle, line: string) => Promise<unknown>> = {
  "write of a string": (handle, line) => handle.write(line),
  "write of a buffer": (handle, line) => handle.write(Buffer.from(line)),
  "write of many KiB": (handle, line) => handle.write(Buffer.from(line.trimEnd().padEnd(40_000, ".").concat("\n"))),
  "write of two at once": (handle, line) => Promise.all([handle.write(`1 ${line}`), handle.write(`2 ${line}`)]),
  "write with flush": (handle, line) => (handle as any).write(Buffer.from(line), { flush: true }),
  writev: (handle, line) => handle.writev([Buffer.from(line.slice(0, 3)), Buffer.from(line.slice(3))]),
  "writev with flush": (handle, line) =>
    (handle as any).writev([Buffer.from(line.slice(0, 3)), Buffer.from(line.slice(3))], null, { flush: true }),
  writeFile: (handle, line) => handle.writeFile(line),
  "writeFile of chunks": (handle, line) => handle.writeFile([line] as never),
  appendFile: (handle, line) => handle.appendFile(line),
};

forEachImplementation((fs, _name, it) => {
  for (const flags of ["w", "a"])
    for (const [form, write] of Object.entries(WRITES))
      it(`${form} beside writeSync, opened with "${flags}"`, async () => {
        const path = tmp.path();
        const handle = await fs.open(path, flags);
        const ticks = 20;
        for (let i = 0; i < ticks; i++) {
          const writing = write(handle, `async ${i}\n`);
          writeSync(handle.fd, `sync ${i}\n`);
          await writing;
        }
        await handle.close();
        const found = lines(path).map((line) => line.replace(/\.+$/, "").replace(/^[12] /, ""));
        const wanted = Array.from({ length: ticks }, (_, i) => [`async ${i}`, `sync ${i}`]).flat();
        expect([...new Set(found)].sort()).toEqual(wanted.sort());
        expect(readFileSync(path).includes(0)).toBe(false);
      });

  it("write beside a child that has the same open file", async () => {
    const path = tmp.path();
    const handle = await fs.open(path, "w");
    const script = "i=0; while [ $i -lt 2000 ]; do echo child $i; i=$((i+1)); done";
    const child = Bun.spawn(["sh", "-c", script], { stdio: ["ignore", handle.fd, "inherit"] });
    let written = 0;
    while (child.exitCode === null) {
      await handle.write(`parent ${written++}\n`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await handle.close();
    const wanted = Array.from({ length: 2000 }, (_, i) => `child ${i}`);
    for (let i = 0; i < written; i++) wanted.push(`parent ${i}`);
    expect(lines(path)).toEqual(wanted.sort());
  });

  for (const form of ["read", "readv"] as const)
    it(`${form} beside readSync: each byte once`, async () => {
      const numbers = Buffer.from(
        Array.from({ length: 4000 }, (_, i) => String(i).padStart(7, "0").concat("\n")).join(""),
      );
      const handle = await fs.open(tmp.file(numbers));
      const seen: string[] = [];
      for (;;) {
        const [own, other] = [Buffer.alloc(800), Buffer.alloc(800)];
        const reading = form === "read" ? handle.read(own) : handle.readv([own]);
        const count = readSync(handle.fd, other);
        const { bytesRead } = await reading;
        seen.push(own.toString("latin1", 0, bytesRead), other.toString("latin1", 0, count));
        if (bytesRead === 0 && count === 0) break;
      }
      await handle.close();
      expect(seen.join("").split("\n").filter(Boolean).sort().join()).toBe(
        numbers.toString().split("\n").filter(Boolean).sort().join(),
      );
    });

  it("a read at the end beside writeSync leaves no hole", async () => {
    const path = tmp.file("begin ");
    const handle = await fs.open(path, "r+");
    for (let i = 0; i < 20; i++) {
      const reading = handle.read(Buffer.alloc(6));
      writeSync(handle.fd, "x");
      await reading;
    }
    await handle.close();
    expect(readFileSync(path).includes(0)).toBe(false);
  });

  it("what a transfer does not get stays: at the end, after an error", async () => {
    const path = tmp.file("0123456789");
    const handle = await fs.open(path, "r+");
    expect((await handle.read(Buffer.alloc(8))).bytesRead).toBe(8);
    expect((await handle.read(Buffer.alloc(8))).bytesRead).toBe(2);
    expect((await handle.read(Buffer.alloc(8))).bytesRead).toBe(0);
    await handle.write("ab");
    await handle.close();
    expect(readFileSync(path, "utf8")).toBe("0123456789ab");

    const reader = await fs.open(path, "r");
    for (const write of [
      () => reader.write("xyz"),
      () => reader.writev([Buffer.from("xyz")]),
      () => reader.write(Buffer.alloc(100_000)),
    ])
      expect((await write().catch((error: unknown) => error)) as object).toHaveProperty("code", "EBADF");
    expect((await reader.read(Buffer.alloc(4))).buffer.toString()).toBe("0123");
    await reader.close();
  });

  it("files without a size are read to their end", async () => {
    const handle = await fs.open("/proc/self/status");
    let text = "";
    for (;;) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(100));
      if (bytesRead === 0) break;
      text += buffer.toString("latin1", 0, bytesRead);
    }
    await handle.close();
    expect(text).toMatch(/^Name:.*\nnonvoluntary_ctxt_switches:\s\d+\n(?:x86_\w+:.*\n)*$/s); // what x64 adds behind them
    const zeros = await fs.open("/dev/zero");
    expect((await zeros.read(Buffer.alloc(100, 1))).bytesRead).toBe(100);
    expect((await zeros.read(Buffer.alloc(100, 1))).buffer.every((byte) => byte === 0)).toBe(true);
    await zeros.close();
  });
}, "shared position");
