// Where the native library is looked for: a program bundled straight from the sources has it inside; a file that is not
// the library does not hide one that is.

import { expect, test } from "bun:test";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { faultTest } from "../helpers/requirements.ts";
import { tmpDir } from "../helpers/tmp.ts";

const root = join(import.meta.dir, "../..");
const environment = { ...process.env, BUN_URING_BACKEND: "auto", BUN_URING_LIB: undefined };

function backendOf(program: string, cwd: string): unknown {
  const child = Bun.spawnSync([process.execPath, program], { cwd, env: environment });
  return JSON.parse(child.stdout.toString() || JSON.stringify(child.stderr.toString()));
}

const SAYS = `console.log(JSON.stringify([fs.backend, fs.capabilities().reason?.code ?? null]));`;

faultTest("a program bundled from the sources keeps io_uring in another folder", { needs: ["ioUring"] }, async () => {
  const folder = tmpDir();
  writeFileSync(join(folder, "main.ts"), `import * as fs from ${JSON.stringify(`${root}/src/index.ts`)}; ${SAYS}`);
  const built = await Bun.build({ entrypoints: [join(folder, "main.ts")], outdir: join(folder, "out"), target: "bun" });
  expect(built.success).toBe(true);
  expect(backendOf(join(folder, "out/main.js"), folder)).toEqual(["io_uring", null]);
});

/** A copy of the sources with these files in the places of the library. */
function copyWith(files: Record<string, string>): string {
  const copy = tmpDir();
  cpSync(join(root, "src"), join(copy, "src"), { recursive: true });
  for (const [place, from] of Object.entries(files)) {
    mkdirSync(join(copy, place, ".."), { recursive: true });
    cpSync(from, join(copy, place));
  }
  writeFileSync(join(copy, "main.ts"), `import * as fs from "./src/index.ts"; ${SAYS}`);
  return copy;
}

const shim = join(root, "build/liburing-shim.so");
const shipped = `prebuilds/linux-${process.arch}/liburing-shim.so`;

faultTest("a library of another processor in build/ does not hide the right one", { needs: ["ioUring"] }, () => {
  const copy = copyWith({ "build/liburing-shim.so": import.meta.path, [shipped]: shim });
  expect(backendOf(join(copy, "main.ts"), copy)).toEqual(["io_uring", null]);
});

test("without any library the node backend is used, and the reason says so", () => {
  const copy = copyWith({});
  expect(backendOf(join(copy, "main.ts"), copy)).toEqual(["node", "MISSING"]);
});
