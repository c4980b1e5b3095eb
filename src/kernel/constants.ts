// Numbers of the kernel's file interface that node:fs does not export, beside node:fs' own `constants`.
// Assumes Linux on x64 or arm64; every value is from the uapi header named beside it.
// Never decides whether a kernel supports one (ring/setup.ts does).

export { constants } from "node:fs";

// linux/fcntl.h: the *at() family
export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
export const AT_SYMLINK_FOLLOW = 0x400;
export const AT_EMPTY_PATH = 0x1000;

// asm/fcntl.h: open flags that node:fs leaves out; the kernel forces O_LARGEFILE for 64-bit callers
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
/** __O_TMPFILE | O_DIRECTORY; the directory bit differs between x64 and arm64. */
export const O_TMPFILE: number = 0o20000000 | (process.arch === "arm64" ? 0o40000 : 0o200000);

// linux/fs.h: renameat2 and per-call read/write flags
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
export const RWF_DONTCACHE = 0x80;
// linux/io_uring.h: flags of its fsync
export const FSYNC_DATASYNC = 1;

// linux/falloc.h
export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;
export const FALLOC_FL_ZERO_RANGE = 0x10;

// linux/stat.h
export const STATX_BASIC_STATS = 0x7ff;
export const STATX_BTIME = 0x800;
export const STATX_DIOALIGN = 0x2000;
/** sizeof(struct statx). */
export const STATX_BYTES = 256;
/** The same, in words of 32 bits. */
export const STATX_WORDS: number = STATX_BYTES / 4;

// linux/openat2.h
export const RESOLVE_NO_XDEV = 0x01;
export const RESOLVE_NO_MAGICLINKS = 0x02;
export const RESOLVE_NO_SYMLINKS = 0x04;
export const RESOLVE_BENEATH = 0x08;
export const RESOLVE_CACHED = 0x20;

// linux/fadvise.h
export const POSIX_FADV_NORMAL = 0;
export const POSIX_FADV_RANDOM = 1;
export const POSIX_FADV_SEQUENTIAL = 2;
export const POSIX_FADV_WILLNEED = 3;
export const POSIX_FADV_DONTNEED = 4;
export const POSIX_FADV_NOREUSE = 5;
