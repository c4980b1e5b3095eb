// Errors of failed system calls: libuv's names and texts for kernel error numbers, in the shape Node gives them.
// Assumes numbers of the platform it runs on; the table is read from the runtime on first use, since importing it costs 2 ms.
// Never throws by itself and never judges arguments (node/arguments.ts does).

import { lateRejection } from "./late-error.ts";
import { reasonOf } from "./signal.ts";

type PathLike = string | Buffer;

interface ErrnoEntry {
  code: string;
  message: string;
}

let entries: Map<number, ErrnoEntry> | undefined;
let numbers: Map<string, number> | undefined;

/** libuv's table, keyed by negative errno. Its names are those of libuv: 95 is ENOTSUP, 11 is EAGAIN. */
function table(): Map<number, ErrnoEntry> {
  if (entries === undefined) {
    entries = new Map();
    for (const [errno, [code, message]] of process.getBuiltinModule("node:util").getSystemErrorMap()) {
      entries.set(errno, { code, message });
    }
  }
  return entries;
}

function unknown(errno: number): string {
  return `Unknown system error ${errno}`;
}

/** The name of an errno (either sign): 2 and -2 give "ENOENT". One libuv does not know gives "Unknown system error -122". */
export function errnoCode(errno: number): string {
  const key = -Math.abs(errno);
  return table().get(key)?.code ?? unknown(key);
}

/** The positive errno of a name, 0 for a name libuv does not know. */
export function errnoOf(code: string): number {
  if (numbers === undefined) {
    numbers = new Map();
    for (const [errno, entry] of table()) numbers.set(entry.code, -errno);
  }
  return numbers.get(code) ?? 0;
}

/**
 * The Error of a failed system call. Own enumerable keys in Node's order: errno (negative), code, syscall, path, dest;
 * the last two only where given. A Buffer path is shown as UTF-8 text, as Node does.
 */
export function systemError(
  errno: number,
  syscall: string,
  path?: PathLike,
  dest?: PathLike,
): NodeJS.ErrnoException & { dest?: string } {
  const number = -Math.abs(errno);
  const entry = table().get(number);
  const code = entry === undefined ? unknown(number) : entry.code;
  let message = `${code}: ${entry === undefined ? code : entry.message}, ${syscall}`;
  const shownPath = path === undefined ? undefined : shown(path);
  const shownDest = dest === undefined ? undefined : shown(dest);
  if (shownPath !== undefined) message += ` '${shownPath}'`;
  if (shownDest !== undefined) message += ` -> '${shownDest}'`;
  const error = new Error(message) as NodeJS.ErrnoException & { dest?: string };
  error.errno = number;
  error.code = code;
  error.syscall = syscall;
  if (shownPath !== undefined) error.path = shownPath;
  if (shownDest !== undefined) error.dest = shownDest;
  return error;
}

/** The error of one of Bun's functions as Node tells it, if the system refused something; any other as it is. */
export function retold(error: unknown, syscall: string, path?: PathLike, dest?: PathLike): Error {
  const { errno } = error as NodeJS.ErrnoException;
  return typeof errno === "number" ? systemError(errno, syscall, path, dest) : (error as Error);
}

/** What one of Bun's functions gives, with `retold` errors. */
export function told<T>(syscall: string, path: PathLike, result: Promise<T>): Promise<T> {
  return result.then(undefined, (error) => lateRejection(() => retold(error, syscall, path)));
}

/** A whole file's read has failed: as in Node the error names a folder, and no file. */
export function readError(errno: number, path: PathLike): Error {
  return errnoCode(errno) === "EISDIR" ? systemError(errno, "read", path) : systemError(errno, "read");
}

/** The read of a whole file, whose error is `readError`'s. */
export function namingFolder<T>(read: Promise<T>, path: PathLike): Promise<T> {
  return read.catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EISDIR") throw error;
    return lateRejection(() => readError(error.errno!, path));
  });
}

function shown(path: PathLike): string {
  return typeof path === "string" ? path : path.toString("utf8");
}

/** What an operation on a closed FileHandle rejects with: "file closed", EBADF and the syscall, but no errno. */
export function closedError(syscall: string): NodeJS.ErrnoException {
  const error = new Error("file closed") as NodeJS.ErrnoException;
  error.code = "EBADF";
  error.syscall = syscall;
  return error;
}

/** What a FileHandle's method rejects with when it is called on something else. */
export function notAHandleError(): Error {
  return Object.assign(new Error("handle must be an instance of FileHandle"), { code: "ERR_INTERNAL_ASSERTION" });
}

class AbortError extends Error {
  readonly code: string = "ABORT_ERR";
  override name: string = "AbortError";
}

/** What an aborted operation rejects with. The cause is the signal's reason; without a signal there is none. */
export function abortError(signal?: AbortSignal | null): Error & { code: string } {
  const message = "The operation was aborted";
  return !signal ? new AbortError(message) : new AbortError(message, { cause: reasonOf(signal) });
}
