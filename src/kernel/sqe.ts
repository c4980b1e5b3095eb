// The submission queue entry: kernel names and numbers, and the one function that writes an SQE's 64 bytes.
// Numbers newer than liburing 2.3's header are the kernel's own (include/uapi/linux/io_uring.h); what a kernel offers is
// asked with a probe, never inferred from its version.

/** The opcodes used by this package: IORING_OP_ number, and the first kernel that has it. One row is a new opcode. */
const OPCODES = {
  NOP: [0, "5.1"],
  READV: [1, "5.1"],
  WRITEV: [2, "5.1"],
  FSYNC: [3, "5.1"],
  READ_FIXED: [4, "5.1"],
  WRITE_FIXED: [5, "5.1"],
  POLL_ADD: [6, "5.1"],
  SYNC_FILE_RANGE: [8, "5.2"],
  TIMEOUT: [11, "5.4"],
  ASYNC_CANCEL: [14, "5.5"],
  LINK_TIMEOUT: [15, "5.5"],
  FALLOCATE: [17, "5.6"],
  OPENAT: [18, "5.6"],
  CLOSE: [19, "5.6"],
  FILES_UPDATE: [20, "5.6"],
  STATX: [21, "5.6"],
  READ: [22, "5.6"],
  WRITE: [23, "5.6"],
  FADVISE: [24, "5.6"],
  MADVISE: [25, "5.6"],
  OPENAT2: [28, "5.6"],
  SPLICE: [30, "5.7"],
  TEE: [33, "5.8"],
  RENAMEAT: [35, "5.11"],
  UNLINKAT: [36, "5.11"],
  MKDIRAT: [37, "5.15"],
  SYMLINKAT: [38, "5.15"],
  LINKAT: [39, "5.15"],
  FSETXATTR: [41, "5.19"],
  SETXATTR: [42, "5.19"],
  FGETXATTR: [43, "5.19"],
  GETXATTR: [44, "5.19"],
  FIXED_FD_INSTALL: [54, "6.8"],
  FTRUNCATE: [55, "6.9"],
} as const;

/** Name of an opcode in `Opcode`. */
export type OpcodeName = keyof typeof OPCODES;

const NAMES = Object.keys(OPCODES) as OpcodeName[];
/** IORING_OP_ numbers used by this package. */
export const Opcode = Object.fromEntries(NAMES.map((name) => [name, OPCODES[name][0]])) as {
  readonly [Name in OpcodeName]: (typeof OPCODES)[Name][0];
};
/** The first kernel with each opcode: for messages. Never asked to decide anything. */
export const OPCODE_SINCE: Readonly<Record<OpcodeName, string>> = Object.fromEntries(
  NAMES.map((name) => [name, OPCODES[name][1]]),
) as Record<OpcodeName, string>;

/** The shim's own, which only the helper thread runs: results are those of the call plus 1, 0 where nobody ran it. */
export const LocalOpcode = {
  /** path, mode */ ACCESS: 0xe0,
  /** path, mode */ CHMOD: 0xe1,
  /** path, buffer, its length */ READLINK: 0xe2,
  /** path, buffer, its length */ REALPATH: 0xe3,
  /** path, path of the copy, LocalCopy flags */ COPY: 0xe4,
} as const;

/** Flags of COPY, and its answer where the copy is not whole. */
export const LocalCopy = { NEW: 1, NO_LINK: 2, BROKEN: 0x4000_0001 } as const;

/**
 * Opcodes whose failure does not cancel what is linked to them: the kernel calls no req_set_fail for these (seen on 6.18;
 * io_uring/{fs,sync,statx,truncate,xattr}.c). A rename linked to a failed fsync would be done.
 */
export const DEAF: ReadonlySet<number> = new Set<number>([
  Opcode.FSYNC,
  Opcode.SYNC_FILE_RANGE,
  Opcode.FALLOCATE,
  Opcode.FTRUNCATE,
  Opcode.STATX,
  Opcode.RENAMEAT,
  Opcode.UNLINKAT,
  Opcode.MKDIRAT,
  Opcode.SYMLINKAT,
  Opcode.LINKAT,
  Opcode.SETXATTR,
  Opcode.FSETXATTR,
  Opcode.GETXATTR,
  Opcode.FGETXATTR,
]);

/** IOSQE_ flags of an SQE, with the first kernel that has each. */
export const SqeFlag = {
  /** 5.1. `fd` is the index of a direct descriptor. */ FIXED_FILE: 1,
  /** 5.2. Start only when everything before has completed. */ IO_DRAIN: 2,
  /** 5.3. The next SQE starts when this one has succeeded in full; else it is cancelled. */ IO_LINK: 4,
  /** 5.5. The next SQE starts when this one has ended, however. */ IO_HARDLINK: 8,
  /** 5.6. Run in an io-wq thread from the start. */ ASYNC: 16,
  /** The shim's own: the helper thread may run it and what is linked to it. */ HELPER: 128,
} as const;

/** IORING_CQE_F_ flags of a CQE, with the first kernel that has each. */
export const CqeFlag = {
  /** 5.7. The upper 16 bits name the provided buffer that was used. */ BUFFER: 1,
  /** 5.13. More CQEs of the same SQE will come. */ MORE: 2,
  /** 5.19. The socket has more to read. */ SOCK_NONEMPTY: 4,
  /** 6.0. A zero-copy send is done with its memory. */ NOTIF: 8,
} as const;

export { AT_FDCWD } from "./constants.ts";

const TWO_32 = 4294967296;

/**
 * Writes the SQE at word `i`. `offset`, `address` are 64-bit values below 2^53 or -1; they land in the kernel's unions
 * `off/addr2` and `addr`. `slot` and `generation` become user_data. All other bytes become 0.
 */
export function writeSqe(
  words: Uint32Array,
  i: number,
  opcode: number,
  flags: number,
  fd: number,
  offset: number,
  address: number,
  length: number,
  opFlags: number,
  slot: number,
  generation: number,
): void {
  words[i] = opcode | (flags << 8);
  words[i + 1] = fd;
  words[i + 2] = offset;
  words[i + 3] = Math.floor(offset / TWO_32);
  words[i + 4] = address;
  words[i + 5] = Math.floor(address / TWO_32);
  words[i + 6] = length;
  words[i + 7] = opFlags;
  words[i + 8] = slot;
  words[i + 9] = generation;
  words[i + 10] = 0;
  words[i + 11] = 0;
  words[i + 12] = 0;
  words[i + 13] = 0;
  words[i + 14] = 0;
  words[i + 15] = 0;
}

/** Replaces the SQE's `off` by a 64-bit offset that a number can't hold exactly. */
export function setOffset(words: Uint32Array, i: number, offset: bigint): void {
  words[i + 2] = Number(offset & 0xffff_ffffn);
  words[i + 3] = Number((offset >> 32n) & 0xffff_ffffn);
}

/** Sets `buf_index`, the fixed buffer's slot. */
export function setBufferIndex(words: Uint32Array, i: number, index: number): void {
  words[i + 10] = index;
}

/** Sets `file_index` for OPENAT and CLOSE of a direct descriptor: its slot + 1. */
export function setFileIndex(words: Uint32Array, i: number, slot: number): void {
  words[i + 11] = slot + 1;
}
