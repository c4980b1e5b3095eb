// The backend that runs file operations on this thread's io_uring. Only wiring: what each operation does is in
// backend/uring/read-write.ts and backend/uring/close.ts (open files), backend/uring/path.ts (paths), backend/uring/read-file.ts and write-file.ts (whole files).

import { copyBytes } from "../../kernel/copy.ts";
import type { Backend } from "../interface.ts";
import { close } from "./close.ts";
import { copySmallFile } from "./copy-file.ts";
import { preallocate } from "./copy-small.ts";
import { writeSynced } from "./durable-write.ts";
import * as jobs from "./jobs.ts";
import * as local from "./local-calls.ts";
import * as path from "./path.ts";
import { readBatch } from "./read-batch.ts";
import { readFile } from "./read-file.ts";
import * as file from "./read-write.ts";
import * as space from "./space.ts";
import * as statx from "./statx.ts";
import * as vectored from "./vectored.ts";
import { writeFile } from "./write-file.ts";
import * as xattr from "./xattr.ts";

type Start = (a: any, b: any, c: any, d: any, e: any) => Promise<any>;

/** A ring that is stopped or can't be made again throws as an operation begins; the caller gets a rejection. */
function rejecting<F>(start: F): F {
  const begin = start as Start;
  const wrapped: Start = (a, b, c, d, e) => {
    try {
      return begin(a, b, c, d, e);
    } catch (error) {
      return Promise.reject(error);
    }
  };
  return wrapped as F;
}

// The two hot ones have a body of their own, which the compiler can inline.
const read: Backend["read"] = (open, view, offset, length, position) => {
  try {
    return file.read(open, view, offset, length, position);
  } catch (error) {
    return Promise.reject(error);
  }
};
const write: Backend["write"] = (open, view, offset, length, position) => {
  try {
    return file.write(open, view, offset, length, position);
  } catch (error) {
    return Promise.reject(error);
  }
};

export const uringBackend: Backend = {
  name: "io_uring",
  open: rejecting(path.open as Backend["open"]),
  openBeneath: rejecting(path.openBeneath),
  adopt: path.adopt,
  bypassCache: path.bypassCache,
  seek: file.seek,
  copy: (from, to) => copyBytes(from, to, from),
  flock: (open, operation) => file.flock(open, operation),
  close: rejecting(close),
  read,
  write,
  readv: rejecting(vectored.readv),
  writev: rejecting(vectored.writev),
  writeSynced: rejecting(writeSynced),
  readBatch: rejecting(readBatch),
  directAlignment: rejecting(statx.directAlignment),
  alignedMemory: space.alignedMemory,
  claim: space.claim,
  fsync: rejecting(file.fsync),
  fdatasync: rejecting(file.fdatasync),
  ftruncate: rejecting(file.ftruncate),
  fstat: rejecting(statx.fstat),
  stat: rejecting(statx.stat),
  lstat: rejecting(statx.lstat),
  mkdir: rejecting(path.mkdir),
  rename: rejecting(path.rename),
  unlink: rejecting(path.unlink),
  rmdir: rejecting(path.rmdir),
  symlink: rejecting(path.symlink),
  link: rejecting(path.link),
  access: rejecting(local.access),
  chmod: rejecting(local.chmod),
  readlink: rejecting(local.readlink),
  realpath: rejecting(local.realpath),
  removeTree: rejecting(jobs.removeTree),
  list: rejecting(jobs.list),
  copyNames: rejecting(jobs.copyNames),
  kernelCopyBytes: 0,
  copySmall: rejecting(copySmallFile),
  lookup: statx.lookup,
  info: statx.info,
  setAttributes: jobs.setAttributes,
  keepXattrs: xattr.keepXattrs,
  preallocate: rejecting(preallocate),
  readFile: rejecting(readFile),
  writeFile: rejecting(writeFile),
  allocate: rejecting(space.allocate),
  advise: rejecting(space.advise),
  syncRange: rejecting(space.syncRange),
  openUnnamed: rejecting(path.openUnnamed),
  linkUnnamed: rejecting(path.linkUnnamed),
  renameWith: rejecting(space.renameWith),
  getxattr: rejecting(xattr.getxattr),
  setxattr: rejecting(xattr.setxattr),
  listxattr: rejecting(xattr.listxattr),
  removexattr: rejecting(xattr.removexattr),
};
