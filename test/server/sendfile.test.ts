// From 1 MiB on a cached file leaves by sendfile(2), in the turn and whole or in part, and a smaller one without: seen by strace.

import { expect } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { backend } from "../../src/index.ts";
import { readLines } from "../helpers/lines.ts";
import { faultTest } from "../helpers/requirements.ts";
import { describeUnless } from "../helpers/skip.ts";
import { strace } from "../helpers/strace.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const MIB = 1024 * 1024;

describeUnless(backend !== "io_uring" && "no ring", "large files", () => {
  faultTest("leave by sendfile", { needs: ["strace"] }, async () => {
    const dir = tmp.folder();
    writeFileSync(join(dir, "small"), patternBytes(300_000));
    writeFileSync(join(dir, "large"), patternBytes(2 * MIB));
    const traced = strace({ trace: ["sendfile"] });
    const command = [...traced.prefix, process.execPath, join(import.meta.dir, "descriptors.child.ts"), dir];
    const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
    const sent = (): number =>
      traced.lines().reduce((sum, line) => sum + Number(/sendfile.*= (\d+)$/.exec(line)?.[1] ?? 0), 0);
    try {
      const port = Number(await readLines(child.stdout).next());
      const get = async (name: string, headers = {}): Promise<number> =>
        (await (await fetch(`http://127.0.0.1:${port}/0/${name}`, { headers })).bytes()).length;
      for (let i = 0; i < 3; i++) expect(await get("small")).toBe(300_000);
      expect(sent()).toBe(0);
      for (let i = 0; i < 3; i++) expect(await get("large")).toBe(2 * MIB);
      expect(await get("large", { Range: "bytes=1000-" })).toBe(2 * MIB - 1000);
    } finally {
      // strace with an output file hears no signal: it ends with what it traces.
      const traced = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim().split(" ");
      for (const pid of traced) process.kill(Number(pid));
      await child.exited;
    }
    expect(sent()).toBe(8 * MIB - 1000);
    traced.remove();
  });
});
