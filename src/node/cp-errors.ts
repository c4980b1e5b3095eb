// What cp and rm refuse by themselves: Node's SystemErrors, which no system call has given.
// Their codes, texts and properties are Node's; `errno` is positive in these, unlike in errors of the system.

import { codedError } from "./arguments.ts";
import { errnoOf } from "./errors.ts";

const TEXTS = {
  ERR_FS_EISDIR: "Path is a directory",
  ERR_FS_CP_DIR_TO_NON_DIR: "Cannot overwrite non-directory with directory",
  ERR_FS_CP_EEXIST: "Target already exists",
  ERR_FS_CP_EINVAL: "Invalid src or dest",
  ERR_FS_CP_FIFO_PIPE: "Cannot copy a FIFO pipe",
  ERR_FS_CP_NON_DIR_TO_DIR: "Cannot overwrite directory with non-directory",
  ERR_FS_CP_SOCKET: "Cannot copy a socket file",
  ERR_FS_CP_SYMLINK_TO_SUBDIRECTORY: "Cannot overwrite symlink in subdirectory of self",
  ERR_FS_CP_UNKNOWN: "Cannot copy an unknown file type",
} as const;

/** `name` is the errno's, such as "EINVAL"; `message` says what about `path` was wrong. */
export function refusal(
  code: keyof typeof TEXTS,
  syscall: "cp" | "rm",
  name: string,
  message: string,
  path: string | Buffer,
): NodeJS.ErrnoException {
  const shown = String(path);
  const text = `${TEXTS[code]}: ${syscall} returned ${name} (${message}) ${shown}`;
  const errno = Math.abs(errnoOf(name));
  const error: NodeJS.ErrnoException = codedError(Error, code, text);
  const hidden = { enumerable: false, writable: true, configurable: true };
  Object.defineProperty(error, "name", { ...hidden, value: "SystemError" });
  Object.defineProperty(error, "toString", { ...hidden, value: () => `SystemError [${code}]: ${text}` });
  const info = { message, path: shown, syscall, errno, code: name };
  return Object.assign(error, { info, errno, syscall, path: shown });
}
