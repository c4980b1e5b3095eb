// The public face of `bun-uring`: a list of what there is, and which backend this process runs on.
// Assumes nothing: importing it never throws, on any platform, unless BUN_URING_BACKEND asks for what can't be had.

import { currentBackend } from "./backend.ts";

export type { Limits as OperationLimits } from "./abort.ts";
export { alignedBuffer } from "./aligned.ts";
export { type ManyOptions, type ReadBatchOptions, type ReadManyOptions, readMany, statMany } from "./batch.ts";
export type { Reason } from "./capabilities.ts";
export type { Chain, ChainError } from "./chain.ts";
export type { CopyFileOptions, CopyProgress } from "./copy.ts";
export { type Advice, type AllocateOptions, type RenameOptions, rename } from "./extras.ts";
export { FileHandle } from "./file-handle.ts";
export { type Capabilities, capabilities, type Limits, shutdown, stats } from "./introspect.ts";
export { type OpenOptions, open } from "./open.ts";
export type { TransferOptions } from "./options.ts";
export { type AcquireOptions, type BufferLease, BufferPool, type BufferPoolOptions } from "./pool.ts";
export * from "./promises.ts";
export type { RingStats } from "./ring.ts";
export { CqeFlag, OPCODE_SINCE, Opcode, type OpcodeName, SqeFlag } from "./sqe.ts";
export type { OpenHow, Sqe } from "./submission.ts";
export { type CopyTreeOptions, copyTree, type TreeCounts } from "./tree.ts";
export type { Tuning } from "./tuning.ts";
export { type Completion, Ring, type RingOptions, type RunOptions, type WorkerLimits } from "./uring.ts";
export { getxattr, listxattr, removexattr, type SetXattrOptions, setxattr } from "./xattr.ts";

/** What runs the file operations of this thread: "io_uring", or "node" where that can't be had (see `capabilities()`). */
export const backend: "io_uring" | "node" = currentBackend().name;
