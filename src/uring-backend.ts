// The backend that runs file operations on this thread's io_uring. Only wiring: what each operation does is in
// uring-file.ts (open files), uring-path.ts (paths) and uring-whole.ts (whole files).

import type { Backend } from "./backend-interface.ts";
import * as file from "./uring-file.ts";
import * as path from "./uring-path.ts";
import * as whole from "./uring-whole.ts";

export const uringBackend: Backend = {
  name: "io_uring",
  open: path.open as Backend["open"],
  close: file.close,
  read: file.read,
  write: file.write,
  readv: file.readv,
  writev: file.writev,
  fsync: file.fsync,
  fdatasync: file.fdatasync,
  ftruncate: file.ftruncate,
  fstat: file.fstat,
  stat: path.stat,
  lstat: path.lstat,
  mkdir: path.mkdir,
  rename: path.rename,
  unlink: path.unlink,
  rmdir: path.rmdir,
  symlink: path.symlink,
  link: path.link,
  readFile: whole.readFile,
  writeFile: whole.writeFile,
};
