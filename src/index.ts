// The public face of `bun-uring`: a list of what there is, and which backend this process runs on.
// Assumes nothing: importing it never throws, on any platform, unless BUN_URING_BACKEND asks for what can't be had.

import { currentBackend } from "./backend/choose.ts";

export { type ManyOptions, type ReadManyOptions, readMany, statMany } from "./fs/many.ts";
export { type OpenOptions, open } from "./fs/open.ts";
export { FileHandle } from "./handle/file-handle.ts";
export type { ReadBatchOptions } from "./handle/read-batch.ts";
export { type Advice, type AllocateOptions, type RenameOptions, rename } from "./handle/space.ts";
export { getxattr, listxattr, removexattr, type SetXattrOptions, setxattr } from "./handle/xattr.ts";
export { alignedBuffer } from "./kernel/aligned.ts";
export { CqeFlag, OPCODE_SINCE, Opcode, type OpcodeName, SqeFlag } from "./kernel/sqe.ts";
export { type AcquireOptions, type BufferLease, BufferPool, type BufferPoolOptions } from "./memory/pool.ts";
export type { Limits as OperationLimits } from "./node/abort.ts";
export type { TransferOptions } from "./node/options.ts";
export * from "./promises.ts";
export type { Chain, ChainError } from "./raw/chain.ts";
export { type Completion, Ring, type RingOptions, type RunOptions } from "./raw/ring.ts";
export type { OpenHow, Sqe } from "./raw/sqe-fields.ts";
export type { WorkerLimits } from "./ring/remote-work.ts";
export type { RingStats } from "./ring/ring.ts";
export type { Reason } from "./ring/setup.ts";
export type { Tuning } from "./ring/tuning.ts";
export { type Capabilities, capabilities, type Limits, shutdown, stats } from "./status.ts";
export type { CopyFileOptions, CopyProgress } from "./tree/copy-file.ts";
export { type CopyTreeOptions, copyTree, type TreeCounts } from "./tree/copy-tree.ts";

/** What runs the file operations of this thread: "io_uring", or "node" where that can't be had (see `capabilities()`). */
export const backend: "io_uring" | "node" = currentBackend().name;
