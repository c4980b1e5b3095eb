// The form of a log on disk: a header that says where a segment begins in its log, then frames, each with its length, checksum,
// sequence number and place in the group that it was synced with. Zeros, or the file's end, are the log's end.
// Pure: bytes in, bytes out. Never reads or writes a file.

const { crc32 } = Bun.hash;

/** First bytes of each segment; the last is the format's version. */
const MAGIC = "bunlog\n\x01";
/** Magic, base offset (64 bits), first sequence number (64 bits), checksum of these, and 4 bytes of zeros. */
export const SEGMENT_HEADER_BYTES = 32;
/** Length, checksum, sequence number (64 bits), index in its group. */
export const FRAME_HEADER_BYTES = 20;
/** The longest record. */
export const MAX_RECORD_BYTES: number = 64 * 1024 * 1024;
const TWO_32 = 2 ** 32;

const checksum = (bytes: Uint8Array): number => crc32(bytes) as number;

/** Where a segment begins. */
export interface SegmentStart {
  /** Offset in the log of the segment's first frame. */
  base: number;
  /** Sequence number of its first record. */
  sequence: number;
}

export function segmentHeader({ base, sequence }: SegmentStart): Buffer {
  const header = Buffer.alloc(SEGMENT_HEADER_BYTES);
  header.write(MAGIC, "latin1");
  header.writeBigUInt64LE(BigInt(base), 8);
  header.writeBigUInt64LE(BigInt(sequence), 16);
  header.writeUInt32LE(checksum(header.subarray(0, 24)), 24);
  return header;
}

/** Null where these bytes are no header. */
export function parseSegmentHeader(header: Buffer): SegmentStart | null {
  if (header.length < SEGMENT_HEADER_BYTES || header.toString("latin1", 0, 8) !== MAGIC) return null;
  if (header.readUInt32LE(24) !== checksum(header.subarray(0, 24))) return null;
  return { base: Number(header.readBigUInt64LE(8)), sequence: Number(header.readBigUInt64LE(16)) };
}

/** Closes a frame whose payload of `length` bytes lies behind its header at `at`. */
export function sealFrame(bytes: Buffer, at: number, length: number, sequence: number, index: number): void {
  bytes.writeUInt32LE(length, at);
  bytes.writeUInt32LE(sequence % TWO_32, at + 8);
  bytes.writeUInt32LE(Math.floor(sequence / TWO_32), at + 12);
  bytes.writeUInt32LE(index, at + 16);
  bytes.writeUInt32LE(frameChecksum(bytes, at, length), at + 4);
}

/** Of the length and of all behind the checksum itself. */
function frameChecksum(bytes: Buffer, at: number, length: number): number {
  const seed = checksum(bytes.subarray(at, at + 4));
  return crc32(bytes.subarray(at + 8, at + FRAME_HEADER_BYTES + length), seed) as number;
}

export interface Frame {
  /** Where it begins, in the bytes that it was read from. */
  at: number;
  length: number;
  sequence: number;
  /** Of its group's records, from 0 on. */
  index: number;
}

/** A whole frame at `at`; "short" where more bytes are needed to tell, null where there is none. */
export function frameAt(bytes: Buffer, at: number): Frame | "short" | null {
  if (bytes.length - at < FRAME_HEADER_BYTES) return "short";
  const length = bytes.readUInt32LE(at);
  if (length > MAX_RECORD_BYTES) return null;
  const sequence = bytes.readUInt32LE(at + 12) * TWO_32 + bytes.readUInt32LE(at + 8);
  if (sequence === 0) return null; // they begin with 1, so zeros are no frame
  if (bytes.length - at < FRAME_HEADER_BYTES + length) return "short";
  if (bytes.readUInt32LE(at + 4) !== frameChecksum(bytes, at, length)) return null;
  return { at, length, sequence, index: bytes.readUInt32LE(at + 16) };
}
