// One pass over everything that the package exports, for kernels, libcs and processors that can't run the test suites: each
// function has a step, each step a limit. Needs no test runner, so that an emulated guest can run it.
// Prints one line of JSON; exits 1 if a step failed, or an exported function has no step.
//   PROJECT      the package's folder (default: the one that this file is in)
//   ENTRY        what is imported of it (default src/index.ts; dist/index.js of what was packed)
//   EXPECT       JSON: what `capabilities()` and its limits have to say, "restricted" for example
//   LIMIT_MS     milliseconds for a step (default 20,000)

import { faceSteps } from "./face-steps.ts";
import { handleSteps } from "./handle-steps.ts";
import { pathSteps } from "./path-steps.ts";
import { dir, durable, fs, Skip, server } from "./steps.ts";

const limitMs = Number(process.env["LIMIT_MS"] ?? 20_000);
const { shutdown, ...paths } = pathSteps;
const steps: Record<string, () => unknown> = { ...paths, ...handleSteps, ...faceSteps, shutdown };
const failed: string[] = [];
const skipped: string[] = [];
let passed = 0;

/** Every function that the package exports: methods of handles as "FileHandle.read", other faces' as "server.receive". */
function exported(): string[] {
  const functions = Object.entries({ fs, server, durable }).flatMap(([face, all]) =>
    Object.entries(all)
      .filter(([name, value]) => typeof value === "function" && name !== "core") // what holds a bundle's chunks together
      .map(([name]) => (face === "fs" ? name : `${face}.${name}`)),
  );
  const { prototype } = fs.FileHandle;
  const classes = [prototype, Object.getPrototypeOf(prototype)];
  const methods = new Set(classes.flatMap((owner) => Object.getOwnPropertyNames(owner)));
  const own = [...methods].filter((name) => {
    const isGetter = classes.some((owner) => Object.getOwnPropertyDescriptor(owner, name)?.get !== undefined);
    return name !== "constructor" && !name.startsWith("_") && !isGetter;
  });
  return [...functions, ...own.map((name) => `FileHandle.${name}`)];
}

const state = { ...fs.capabilities() };
for (const [name, step] of Object.entries(steps)) {
  try {
    const late = Bun.sleep(limitMs).then(() => Promise.reject(new Error("never settled")));
    late.catch(() => {});
    await Promise.race([(async () => step())(), late]);
    passed++;
  } catch (error: any) {
    // What only a ring can do, or only a ring of a newer kernel.
    if (error instanceof Skip || error?.code === "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM")
      skipped.push(`${name}: ${error.message}`);
    else failed.push(`${name}: ${error?.message ?? error}`);
  }
}
for (const name of exported()) if (!(name in steps)) failed.push(`${name}: has no step in the tour`);
await fs.rm(dir, { recursive: true, force: true });
console.log(
  JSON.stringify({
    kernel: process.env["BUN_URING_KERNEL"] ?? state.kernel.replace("Linux ", ""),
    arch: process.arch,
    asked: process.env["BUN_URING_BACKEND"] ?? "auto",
    backend: fs.backend,
    reason: state.reason?.message ?? null,
    setupFlags: state.setupFlags,
    restricted: state.restricted,
    lateClose: state.lateClose,
    cachedLookups: state.cachedLookups,
    limits: state.limits,
    passed,
    failed,
    skipped,
  }),
);
process.exit(failed.length > 0 ? 1 : 0);
