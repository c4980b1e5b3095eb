// The form of a log on disk: a header that says where a segment begins in its log, then frames, each with its checksum, length,
// sequence number and place in the group that it was synced with. Zeros, or the file's end, are the log's end.
// Checksums begin with the log's salt, a random number: what a record holds, a copy of a log for example, is no frame of this one.
// Pure: bytes in, bytes out. Never reads or writes a file.

import { randomBytes } from "node:crypto";

const { crc32 } = Bun.hash;

/** First bytes of each segment; the last is the format's version. */
const MAGIC = "bunlog\n\x02";
/** Magic, base offset (64 bits), first sequence number (64 bits), salt, and the checksum of these. */
export const SEGMENT_HEADER_BYTES = 32;
/** Checksum, length, sequence number (64 bits), index in its group. */
export const FRAME_HEADER_BYTES = 20;
/** The longest record. */
export const MAX_RECORD_BYTES: number = 64 * 1024 * 1024;
const TWO_32 = 2 ** 32;

const checksum = (bytes: Uint8Array, seed = 0): number => crc32(bytes, seed) as number;

/** Where a segment begins. */
export interface SegmentStart {
  /** Offset in the log of the segment's first frame. */
  base: number;
  /** Sequence number of its first record. */
  sequence: number;
  /** What its checksums begin with. */
  salt: number;
}

export const newSalt = (): number => randomBytes(4).readUInt32LE();

export function segmentHeader({ base, sequence, salt }: SegmentStart): Buffer {
  const header = Buffer.alloc(SEGMENT_HEADER_BYTES);
  header.write(MAGIC, "latin1");
  header.writeBigUInt64LE(BigInt(base), 8);
  header.writeBigUInt64LE(BigInt(sequence), 16);
  header.writeUInt32LE(salt, 24);
  header.writeUInt32LE(checksum(header.subarray(0, 28)), 28);
  return header;
}

/** Null where these bytes are no header. */
export function parseSegmentHeader(header: Buffer): SegmentStart | null {
  if (header.length < SEGMENT_HEADER_BYTES || header.toString("latin1", 0, 8) !== MAGIC) return null;
  if (header.readUInt32LE(28) !== checksum(header.subarray(0, 28))) return null;
  const [base, sequence] = [Number(header.readBigUInt64LE(8)), Number(header.readBigUInt64LE(16))];
  return { base, sequence, salt: header.readUInt32LE(24) };
}

/** Closes a frame whose payload of `length` bytes lies behind its header at `at`; `view` is of the same bytes. */
export function sealFrame(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  length: number,
  sequence: number,
  index: number,
  salt: number,
): void {
  view.setUint32(at + 4, length, true);
  view.setUint32(at + 8, sequence % TWO_32, true);
  view.setUint32(at + 12, Math.floor(sequence / TWO_32), true);
  view.setUint32(at + 16, index, true);
  view.setUint32(at, checksum(bytes.subarray(at + 4, at + FRAME_HEADER_BYTES + length), salt), true);
}

export const frameLength = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at + 4);
export const frameSequence = (bytes: Buffer, at: number): number =>
  bytes.readUInt32LE(at + 12) * TWO_32 + bytes.readUInt32LE(at + 8);

export interface Frame {
  /** Where it begins, in the bytes that it was read from. */
  at: number;
  length: number;
  sequence: number;
  /** Of its group's records, from 0 on. */
  index: number;
}

/** A whole frame at `at`; "short" where more bytes are needed to tell, null where there is none. */
export function frameAt(bytes: Buffer, at: number, salt: number): Frame | "short" | null {
  if (bytes.length - at < FRAME_HEADER_BYTES) return "short";
  const length = frameLength(bytes, at);
  if (length > MAX_RECORD_BYTES) return null;
  const sequence = frameSequence(bytes, at);
  if (sequence === 0) return null; // they begin with 1, so zeros are no frame
  if (bytes.length - at < FRAME_HEADER_BYTES + length) return "short";
  const end = at + FRAME_HEADER_BYTES + length;
  if (bytes.readUInt32LE(at) !== checksum(bytes.subarray(at + 4, end), salt)) return null;
  return { at, length, sequence, index: bytes.readUInt32LE(at + 16) };
}
