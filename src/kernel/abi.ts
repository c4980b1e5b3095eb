// Where things lie in the memory that TypeScript shares with C: the kernel's SQE, CQE and statx, the shim's header.
// Every number here is compared with the compiled shim when it is loaded; a difference refuses that shim.

/** Number of the shim's binary interface; native/liburing-shim.c holds the same. */
export const ABI = 7;

/** Sizes and offsets in bytes, in the order in which the shim reports them. */
export const LAYOUT: ReadonlyArray<readonly [name: string, value: number]> = [
  ["sizeof sqe", 64],
  ["sqe.opcode", 0],
  ["sqe.flags", 1],
  ["sqe.ioprio", 2],
  ["sqe.fd", 4],
  ["sqe.off", 8],
  ["sqe.addr", 16],
  ["sqe.len", 24],
  ["sqe.rw_flags", 28],
  ["sqe.user_data", 32],
  ["sqe.buf_index", 40],
  ["sqe.personality", 42],
  ["sqe.file_index", 44],
  ["sqe.addr3", 48],
  ["sizeof cqe", 16],
  ["cqe.user_data", 0],
  ["cqe.res", 8],
  ["cqe.flags", 12],
  ["sizeof statx", 256],
  ["statx.size", 40],
  ["statx.atime", 64],
  ["statx.dev_major", 136],
  ["sizeof ring_info", 40],
  ["sizeof attributes", 32],
  ["attributes.mode", 24],
  ["sizeof header", 64],
];

/** What helperCall says besides results. */
export const NOT_TAKEN: number = 0x7fff_ffff;
export const PENDING: number = 0x7fff_fffe;

/** 32-bit words of one SQE. */
export const SQE_WORDS = 16;
/** 32-bit words of one CQE in the shared table: user_data low, user_data high, res, flags. */
export const CQE_WORDS = 4;
/** 32-bit word at which the CQE table starts. */
export const CQE_TABLE = 16;

/** Words of the shared header. */
export const Header = { consumed: 0, sqReady: 1, inFlight: 2, enters: 3, overflows: 4, refusal: 5, helper: 6 } as const;

/** Words of `struct ring_info`. */
export const RingInfo = {
  ring: 0,
  shared: 2,
  sharedLength: 4,
  sqEntries: 5,
  cqEntries: 6,
  features: 7,
  release: 8,
  words: 10,
} as const;
