// mkdir with `recursive`: makes a folder and those above it that are missing, and tells the first that it made.
// Assumes that others may make the same folders at the same time. Never removes what it made when it fails.

import type { Backend, Path } from "../backend/interface.ts";
import { bun, bunFs } from "../node/bun-fs.ts";
import { errnoOf, systemError } from "../node/errors.ts";
import { finishAtExit } from "../node/exit.ts";
import { lateRejection } from "../node/late-error.ts";

type Failure = NodeJS.ErrnoException;
/** What folders are made by. */
type Maker = Pick<Backend, "mkdir" | "stat">;

/** Failures that no folder above could mend, nor a folder that is already there excuse. */
const FINAL = new Set(["EACCES", "ENOSPC", "ENOTDIR", "EPERM"]);

/**
 * Resolves to the path of the topmost folder made, undefined if all were there. Rejects as mkdir does, with `path` itself:
 * EEXIST if it is a file, ENOTDIR if one above it is.
 */
export function makePath(backend: Backend, path: Path, mode: number): Promise<string | undefined> {
  return finishAtExit(makeAll(backend, path, mode), () => void bunFs.mkdirSync(path, { recursive: true, mode }));
}

async function makeAll(backend: Backend, path: Path, mode: number): Promise<string | undefined> {
  if (typeof path === "string" && isTidy(path)) {
    try {
      return await bun.mkdir(path, { recursive: true, mode });
    } catch {
      // Again, for what Node says was wrong, and of which path.
    }
  }
  return makeEach(backend, path, mode);
}

/** Of such a path Bun's own function, which is one visit to a thread, tells the first folder made as Node does. */
const isTidy = (path: string): boolean => !/\/\/|\/$|(^|\/)\.\.?(\/|$)/.test(path);

/** One call for each folder, and a second one where those above it are missing. */
export async function makeEach(backend: Maker, path: Path, mode: number): Promise<string | undefined> {
  // The bytes as characters, so that the one code cuts both kinds of path at their slashes.
  const whole = typeof path === "string" ? path : path.toString("latin1");
  const native = (part: string): Path => (typeof path === "string" ? part : Buffer.from(part, "latin1"));

  let first: string | undefined;
  const make = async (part: string): Promise<void> => {
    let failure = await tryMake(backend, native(part), mode);
    const parent = failure?.code === "ENOENT" ? parentOf(part) : "";
    if (parent !== "") {
      await make(parent);
      failure = await tryMake(backend, native(part), mode);
    }
    if (failure === null) first ??= part;
    else if (failure.code === "ENOENT") return failed(failure.errno!, path);
    // One that is there now was made by somebody else meanwhile.
    else await mustBeFolder(backend, native(part), part === whole, path, failure);
  };
  await make(whole);
  return first === undefined ? undefined : withoutSlashes(native(first).toString("utf8"));
}

const failed = (errno: number, path: Path): Promise<never> => lateRejection(() => systemError(errno, "mkdir", path));

function tryMake(backend: Maker, path: Path, mode: number): Promise<Failure | null> {
  return backend.mkdir(path, mode).then(
    () => null,
    (error: Failure) => error,
  );
}

/** Throws unless the folder that mkdir could not make is there. */
async function mustBeFolder(backend: Maker, part: Path, isWhole: boolean, path: Path, failure: Failure): Promise<void> {
  if (typeof failure.errno !== "number") throw failure;
  if (FINAL.has(failure.code!)) return failed(failure.errno, path);
  const stats = await backend.stat(part, false).catch((error: Failure) => error);
  // What is there but can't be looked at (a link to nothing) is explained by stat, what can't be made by mkdir.
  const cause = stats instanceof Error && failure.code === "EEXIST" ? (stats.errno ?? failure.errno) : failure.errno;
  if (stats instanceof Error) return failed(cause, path);
  if (stats.isDirectory()) return;
  return failed(isWhole ? failure.errno : errnoOf("ENOTDIR"), path);
}

/** "a/b" of "a/b//c/", "/" of "/a"; "" where nothing is above. */
function parentOf(path: string): string {
  const trimmed = withoutSlashes(path);
  const slash = trimmed.lastIndexOf("/");
  if (slash < 0 || trimmed === "/") return "";
  return withoutSlashes(trimmed.slice(0, slash + 1));
}

function withoutSlashes(path: string): string {
  let end = path.length;
  while (end > 1 && path[end - 1] === "/") end--;
  return path.slice(0, end);
}
