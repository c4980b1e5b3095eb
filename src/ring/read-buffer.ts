// Read buffers: where whole-file reads land before their size is known. Each is twice READ_BYTES of shim memory, for the first
// READ and the one that looks for the end; results are copied out, so the kernel never writes to what a user holds.

import { type Address, memoryAt, type Native } from "../kernel/shim.ts";

/** Bytes that each of a read buffer's two READs may bring. */
export const READ_BYTES: number = 64 * 1024;
/** Bun's and Node's own decoder; `toString` reaches it through more checks (610 against 1,020 ns for 4 KiB). */
type Utf8Buffer = Buffer & { utf8Slice(start: number, end: number): string };
const BUFFERS_EACH = 8;

export class ReadBuffer {
  readonly address: Address;
  /** The buffer's 2 × READ_BYTES. */
  readonly bytes: Buffer;

  constructor(address: Address, bytes: Buffer) {
    this.address = address;
    this.bytes = bytes;
  }
}

export class ReadBuffers {
  readonly #native: Native;
  readonly #ring: Address;
  readonly #free: ReadBuffer[] = [];
  #made = 0;
  /** Bytes that the next file probably has, from those before it: the inline budget is charged with this. */
  expected: number = 4096;

  constructor(native: Native, ring: Address) {
    this.#native = native;
    this.#ring = ring;
  }

  /** Read buffers that operations have. */
  get used(): number {
    return this.#made - this.#free.length;
  }

  acquire(): ReadBuffer {
    if (this.#free.length === 0) this.#grow();
    return this.#free.pop()!;
  }

  release(buffer: ReadBuffer): void {
    this.#free.push(buffer);
  }

  #grow(): void {
    const length = 2 * READ_BYTES * BUFFERS_EACH;
    const address = this.#native.regionNew(this.#ring, length, 0, 0);
    if (address === null) throw new Error("bun-uring: no memory for whole-file reads");
    this.#made += BUFFERS_EACH;
    const memory = memoryAt(address, length);
    for (let i = 0; i < BUFFERS_EACH; i++) {
      const start = i * 2 * READ_BYTES;
      this.#free.push(new ReadBuffer(address + start, Buffer.from(memory, start, 2 * READ_BYTES)));
    }
  }

  /** Takes note of a file's length. What a large one costs the wrong way is far more than what a small one gains. */
  learn(length: number): void {
    const more = Math.min(length, 2 * READ_BYTES) - this.expected;
    this.expected += more / (more > 0 ? 4 : 32);
  }

  /** The buffer's first `length` bytes as the user gets them. */
  result(buffer: ReadBuffer, length: number, encoding: BufferEncoding | null): Buffer | string {
    this.learn(length);
    if (encoding === "utf8") return (buffer.bytes as Utf8Buffer).utf8Slice(0, length);
    if (encoding !== null) return buffer.bytes.toString(encoding, 0, length);
    const result = Buffer.allocUnsafe(length);
    result.set(buffer.bytes.subarray(0, length));
    return result;
  }
}
