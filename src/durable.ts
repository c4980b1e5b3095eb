// bun-uring/durable: bytes that are still there after a crash. A list of what there is.

export { AppendLog } from "./durable/append-log.ts";
export { type AtomicOptions, type Durability, writeFileAtomic } from "./durable/atomic.ts";
export type { LogRecord } from "./durable/group.ts";
export type { AppendLogOptions, Framing, LogStats, RotateOptions, SegmentInfo } from "./durable/log-options.ts";
export { type LogEntry, type ReadOptions, readLog, type TailOptions, tailLog } from "./durable/read-log.ts";
export type { Recovered } from "./durable/recover.ts";
export { sweepTemp } from "./durable/temporary.ts";
export { type FileLock, type LockOptions, lock } from "./handle/lock.ts";
