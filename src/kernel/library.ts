// Where the native library may lie: in a source tree, in the installed package, or inside the user's own bundle, which
// Bun's bundler copies it into because of the `require` calls below. Never loads anything.

import { isAbsolute, join } from "node:path";

/** Whether this is the source file itself, and not part of a bundle. */
const isSource = import.meta.path.endsWith("/kernel/library.ts");

/**
 * Paths to try, best first; what is inside a bundle is asked for only where nothing was found before. `BUN_URING_LIB`
 * replaces them all. A bundle may be the package's own, which has the library beside it, or one of the user's.
 */
export function* libraryCandidates(): Generator<string> {
  const chosen = process.env["BUN_URING_LIB"];
  if (chosen) return yield chosen;
  const root = join(import.meta.dir, isSource ? "../.." : "..");
  const built = join(root, "build", "liburing-shim.so");
  const shipped = join(root, "prebuilds", `linux-${process.arch}`, "liburing-shim.so");
  if (isSource) yield* [built, shipped];
  else yield shipped;
  yield* embedded();
  if (!isSource) yield built;
}

/**
 * The assets of a bundle: that of this processor (both are in it, so that a program can be compiled for the other one) and
 * what was built from source. A bundler follows `require` only with a literal path, and forgives a missing file only
 * inside `try`. Where nothing was bundled the call fails: then there is no asset.
 */
function* embedded(): Generator<string> {
  const assets: unknown[] = [];
  try {
    if (process.arch === "arm64") assets.push(require("../../prebuilds/linux-arm64/liburing-shim.so"));
    else if (process.arch === "x64") assets.push(require("../../prebuilds/linux-x64/liburing-shim.so"));
  } catch {}
  try {
    assets.push(require("../../build/liburing-shim.so"));
  } catch {}
  for (const asset of assets) {
    const path = typeof asset === "string" ? asset : (asset as { default?: unknown } | null)?.default;
    if (typeof path === "string") yield isAbsolute(path) ? path : join(import.meta.dir, path);
  }
}
