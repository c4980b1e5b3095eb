// Every write of the ring is a short one, and the process ends in the turn that asked for them: what is to be written whole
// is whole all the same. Assumes the fault build, and a process of its own. See test/contract/exit.test.ts for the rest.

import { expect } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FAULT_LIB, hasFaultBuild } from "../helpers/fault-shim.ts";
import { faultTest } from "../helpers/requirements.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const root = join(import.meta.dir, "../..");
const content = (name: string): Buffer => Buffer.alloc(9000, `${name} says something. `);
const NAMES = ["new", "appended", "flushed", "whole", "stream", "vector"];

if (!hasFaultBuild()) throw new Error("make fault");

faultTest("process.exit() while all writes are short", { needs: ["ioUring"] }, async () => {
  const dir = tmp.folder();
  writeFileSync(
    join(dir, "main.ts"),
    `
    import * as U from "${root}/src/index.ts";
    import { Opcode } from "${root}/src/kernel/sqe.ts";
    import { presence } from "${root}/src/ring/presence.ts";
    import { setFaults } from "${root}/test/helpers/fault-shim.ts";
    const at = (name) => ${JSON.stringify(dir)} + "/" + name;
    const content = (name) => Buffer.alloc(9000, name + " says something. ");
    const whole = await U.open(at("whole"), "w");
    const vector = await U.open(at("vector"), "w");
    const stream = (await U.open(at("stream"), "w")).createWriteStream();
    setFaults(presence.ring, [Opcode.WRITE, Opcode.WRITEV].map((opcode) => ({ opcode, shortTo: 1000, times: Infinity })));
    void U.writeFile(at("new"), content("new"));
    void U.appendFile(at("appended"), content("appended"));
    void U.writeFile(at("flushed"), content("flushed"), { flush: true });
    void whole.writeFile(content("whole"));
    void vector.writev([content("vector").subarray(0, 5000), content("vector").subarray(5000)], null, { flush: true });
    stream.write(content("stream").subarray(0, 4000));
    stream.write(content("stream").subarray(4000));
    process.exit(7);
    `,
  );
  const env = { ...process.env, BUN_URING_BACKEND: "uring", BUN_URING_LIB: FAULT_LIB };
  const child = Bun.spawn([process.execPath, join(dir, "main.ts")], { env, stderr: "inherit" });
  expect(await child.exited).toBe(7);
  expect(NAMES.filter((name) => !readFileSync(join(dir, name)).equals(content(name)))).toEqual([]);
});
