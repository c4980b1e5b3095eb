// SQEs as the user writes them: the typed entry, and which fields each opcode takes, needs and puts where.
// Assumes nothing of what it is given: an opcode that the kernel lacks, a field that does not belong, a flag that would
// break the ring's accounting are refused here, each by name. Encodes nothing (raw/encode.ts does).

import { OPCODE_SINCE, Opcode, type OpcodeName } from "../kernel/sqe.ts";
import { bufferList, codedError, invalidArgValue, validateObject, validateUint32 } from "../node/arguments.ts";

type View = NodeJS.ArrayBufferView;

/** `struct open_how` of openat2(2). */
export interface OpenHow {
  flags: number;
  mode?: number;
  /** RESOLVE_ flags. */
  resolve?: number;
}

/**
 * A submission queue entry with the kernel's fields by what they hold. Which opcode takes which is in docs/ring.md; a
 * field that the opcode does not take is an error.
 */
export interface Sqe {
  /** One of `Opcode`. */
  opcode: number;
  /** `SqeFlag` bits. With FIXED_FILE, `fd` is a direct descriptor. */
  flags?: number;
  /** A file descriptor or an open handle; for operations on paths, the directory they start at (default: the working one). */
  fd?: number | { readonly fd: number };
  /** Bytes into the file. READ, WRITE, SPLICE: -1 (default) is the file's own position. */
  offset?: number | bigint;
  /** Bytes. Transfers and MADVISE: by default the whole buffer. FTRUNCATE: the new size. */
  length?: number;
  /** What is read into, written from, or where a result goes; a Buffer, view or pool lease. Don't transfer it before the CQE. */
  buffer?: View;
  /** The vector of READV and WRITEV, at most 1024 views. */
  buffers?: readonly View[];
  /** rw_flags, fsync_flags, open_flags, statx_flags, poll events, advice …: the union at byte 28. */
  opFlags?: number;
  /** The path, without NUL; for RENAMEAT and LINKAT the old one, for SYMLINKAT the target. */
  path?: string | Uint8Array | URL;
  /** The second path of RENAMEAT, LINKAT and SYMLINKAT, and the directory it starts at. */
  newPath?: string | Uint8Array | URL;
  newFd?: number;
  /** Permission bits of OPENAT and MKDIRAT; FALLOC_FL_ flags of FALLOCATE. */
  mode?: number;
  /** STATX_ fields that are wanted. */
  mask?: number;
  how?: OpenHow;
  /** Name of an extended attribute. */
  name?: string;
  /** The direct descriptor that OPENAT fills, CLOSE empties, or FILES_UPDATE starts at. */
  fileIndex?: number;
  /** READ_FIXED, WRITE_FIXED: the fixed buffer that `buffer` lies in; a registered lease says it by itself. */
  bufferIndex?: number;
  /** Where SPLICE and TEE read, and from which byte (default -1: its own position, and for pipes). */
  inFd?: number;
  inOffset?: number;
  /** TIMEOUT, LINK_TIMEOUT. */
  timeoutMs?: number;
  /** TIMEOUT: completions after which it ends early. */
  count?: number;
  /** ASYNC_CANCEL: the promise that `submit` gave for the operation to cancel. */
  target?: Promise<unknown>;
  /** ioprio, as ioprio_set(2) encodes it. */
  priority?: number;
}

/** Which fields an opcode takes ("!": must be there), and what lies in the SQE's off, addr and len. */
interface Shape {
  takes: string;
  off?: "offset" | "start" | "length" | "newPath" | "buffer" | "how" | "slot" | "count";
  addr?: "buffer" | "buffers" | "path" | "name" | "length" | "time" | "target" | "inOffset";
  len?: "bytes" | "length" | "vectors" | "mode" | "mask" | "newFd" | "how" | "slots" | "one";
  /** Bits of opFlags that may be set; all where it is absent. */
  opFlags?: number;
}

const TRANSFER: Shape = {
  takes: "fd! buffer! length offset opFlags priority",
  off: "offset",
  addr: "buffer",
  len: "bytes",
};
const VECTOR: Shape = { takes: "fd! buffers! offset opFlags priority", off: "offset", addr: "buffers", len: "vectors" };
const FIXED: Shape = { ...TRANSFER, takes: `${TRANSFER.takes} bufferIndex` };
const RANGE: Shape = { takes: "fd! offset length opFlags", off: "start", len: "length" };
const TWO_PATHS: Shape = { takes: "path! newPath! fd newFd opFlags", off: "newPath", addr: "path", len: "newFd" };
const XATTR: Shape = { takes: "name! buffer! opFlags", off: "buffer", addr: "name", len: "bytes" };
/** ABS, BOOTTIME, REALTIME, ETIME_SUCCESS. MULTISHOT and the updates have other numbers of CQEs. */
const TIMEOUT_FLAGS = 0b10_1101;
/** ALL, FD, FD_FIXED. ANY would cancel operations of others on this ring. */
const CANCEL_FLAGS = 0b1011;
/** madvise(2) advice that changes nothing outside the given pages and can't make them unreadable. */
const SAFE_ADVICE: ReadonlySet<number> = new Set([0, 1, 2, 3, 4, 8, 14, 15, 20, 21, 22, 23, 25]);

/** Fields of each opcode, as docs/ring.md lists them. */
export const SHAPES: Readonly<Record<OpcodeName, Shape>> = {
  NOP: { takes: "" },
  READV: VECTOR,
  WRITEV: VECTOR,
  FSYNC: RANGE,
  READ_FIXED: FIXED,
  WRITE_FIXED: FIXED,
  POLL_ADD: { takes: "fd! opFlags!" },
  SYNC_FILE_RANGE: RANGE,
  TIMEOUT: { takes: "timeoutMs! count opFlags", off: "count", addr: "time", len: "one", opFlags: TIMEOUT_FLAGS },
  ASYNC_CANCEL: { takes: "target fd opFlags", addr: "target", opFlags: CANCEL_FLAGS },
  LINK_TIMEOUT: { takes: "timeoutMs! opFlags", addr: "time", len: "one", opFlags: TIMEOUT_FLAGS },
  FALLOCATE: { takes: "fd! length! offset mode", off: "start", addr: "length", len: "mode" },
  OPENAT: { takes: "path! fd opFlags mode fileIndex", addr: "path", len: "mode" },
  CLOSE: { takes: "fd fileIndex" },
  FILES_UPDATE: { takes: "buffer! fileIndex!", off: "slot", addr: "buffer", len: "slots" },
  STATX: { takes: "path! buffer! fd opFlags mask", off: "buffer", addr: "path", len: "mask" },
  READ: TRANSFER,
  WRITE: TRANSFER,
  FADVISE: { ...RANGE, takes: "fd! opFlags! offset length" },
  MADVISE: { takes: "buffer! opFlags! length", addr: "buffer", len: "bytes" },
  OPENAT2: { takes: "path! how! fd fileIndex", off: "how", addr: "path", len: "how" },
  SPLICE: { takes: "fd! inFd! length! offset inOffset opFlags", off: "offset", addr: "inOffset", len: "length" },
  TEE: { takes: "fd! inFd! length! opFlags", len: "length" },
  RENAMEAT: TWO_PATHS,
  UNLINKAT: { takes: "path! fd opFlags", addr: "path" },
  MKDIRAT: { takes: "path! fd mode", addr: "path", len: "mode" },
  SYMLINKAT: { takes: "path! newPath! fd", off: "newPath", addr: "path" },
  LINKAT: TWO_PATHS,
  FSETXATTR: { ...XATTR, takes: `fd! ${XATTR.takes}` },
  SETXATTR: { ...XATTR, takes: `path! ${XATTR.takes}` },
  FGETXATTR: { ...XATTR, takes: "fd! name! buffer!" },
  GETXATTR: { ...XATTR, takes: "path! name! buffer!" },
  FIXED_FD_INSTALL: { takes: "fd! opFlags", opFlags: 1 },
  FTRUNCATE: { takes: "fd! length!", off: "length" },
};

/** A shape that is ready to be asked. */
export interface Form extends Shape {
  name: OpcodeName;
  fields: ReadonlySet<string>;
  required: readonly string[];
}

const FORMS: ReadonlyMap<number, Form> = new Map(
  (Object.keys(SHAPES) as OpcodeName[]).map((name) => {
    const words = SHAPES[name].takes.split(" ").filter((word) => word !== "");
    const required = words.filter((word) => word.endsWith("!")).map((word) => word.slice(0, -1));
    const fields = new Set(["opcode", "flags", ...words.map((word) => word.replace("!", ""))]);
    return [Opcode[name], { ...SHAPES[name], name, fields, required }];
  }),
);

/** SQE flags that may be set: all of SqeFlag. BUFFER_SELECT and CQE_SKIP_SUCCESS have other numbers of CQEs. */
const FLAGS_ALLOWED = 0b1_1111;
const ADDRESS_NAMES: ReadonlySet<string> = new Set([
  "address",
  "addr",
  "addr2",
  "addr3",
  "ptr",
  "userData",
  "user_data",
]);

const FIELDS: readonly (keyof Sqe)[] = [
  ...new Set([...FORMS.values()].flatMap(({ fields }) => [...fields] as (keyof Sqe)[])),
];

/** The form of an SQE's opcode, its fields checked by name. `opcodes` is what the kernel's probe said. */
export function formOf(sqe: Sqe, opcodes: Uint8Array): Form {
  const form = FORMS.get(sqe.opcode);
  if (form === undefined) throw invalidArgValue("sqe.opcode", sqe.opcode, "must be one of Opcode");
  const { name, fields, required } = form;
  if (opcodes[sqe.opcode] !== 1)
    throw codedError(
      Error,
      "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM",
      `This kernel has no IORING_OP_${name} (Linux ${OPCODE_SINCE[name]} and newer have it)`,
    );
  for (const key in sqe) {
    if (fields.has(key) || sqe[key as keyof Sqe] === undefined) continue;
    const reason = ADDRESS_NAMES.has(key)
      ? "can't be given: memory is a Buffer, view or lease in 'buffer', never an address, and user_data is the ring's own"
      : `is not a field of ${name}, which takes: ${SHAPES[name].takes || "no other"} ("!" must be there)`;
    throw invalidArgValue(`sqe.${key}`, sqe[key as keyof Sqe], reason);
  }
  for (const key of required)
    if (sqe[key as keyof Sqe] === undefined)
      throw invalidArgValue(`sqe.${key}`, undefined, `must be there for ${name}`);
  checkFlags(form, sqe);
  return form;
}

function checkFlags(form: Form, sqe: Sqe): void {
  const { flags = 0, opFlags = 0 } = sqe;
  validateUint32(flags, "sqe.flags");
  if ((flags & ~FLAGS_ALLOWED) !== 0) throw invalidArgValue("sqe.flags", flags, "may have the bits of SqeFlag only");
  validateUint32(opFlags, "sqe.opFlags");
  if (form.opFlags !== undefined && (opFlags & ~form.opFlags) !== 0)
    throw invalidArgValue(
      "sqe.opFlags",
      opFlags,
      `may have the bits 0x${form.opFlags.toString(16)} only for ${form.name}`,
    );
  if (form.name === "MADVISE" && !SAFE_ADVICE.has(opFlags))
    throw invalidArgValue("sqe.opFlags", opFlags, "is no advice that is safe for JavaScript's memory");
}

/** The SQE as it is at the call: each field is read once, and the list of buffers copied. */
export function takenOnce(given: Sqe): Sqe {
  validateObject(given, "sqe");
  const sqe = {} as Sqe;
  const fields = sqe as unknown as Record<string, unknown>;
  for (const key in given) fields[key] = given[key as keyof Sqe];
  const proto = Object.getPrototypeOf(given);
  // A class may have its fields as getters, which the loop does not see.
  if (proto !== Object.prototype && proto !== null)
    for (const key of FIELDS) if (!Object.hasOwn(sqe, key) && key in given) fields[key] = given[key];
  if (sqe.buffers !== undefined) sqe.buffers = bufferList(sqe.buffers, "sqe.buffers");
  return sqe;
}
