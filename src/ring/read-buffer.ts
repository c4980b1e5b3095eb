// Lanes: where whole-file reads land before their size is known. Each is twice LANE_BYTES of shim memory, for the first
// READ and the one that looks for the end; results are copied out, so the kernel never writes to what a user holds.

import { type Address, memoryAt, type Native } from "../kernel/shim.ts";

/** Bytes that each of a lane's two READs may bring. */
export const LANE_BYTES: number = 64 * 1024;
/** Bun's and Node's own decoder; `toString` reaches it through more checks (610 against 1,020 ns for 4 KiB). */
type Utf8Buffer = Buffer & { utf8Slice(start: number, end: number): string };
const LANES_PER_CHUNK = 8;

export class Lane {
  readonly address: Address;
  /** The lane's 2 × LANE_BYTES. */
  readonly bytes: Buffer;

  constructor(address: Address, bytes: Buffer) {
    this.address = address;
    this.bytes = bytes;
  }
}

export class Lanes {
  readonly #native: Native;
  readonly #ring: Address;
  readonly #free: Lane[] = [];
  #made = 0;
  /** Bytes that the next file probably has, from those before it: the inline budget is charged with this. */
  expected: number = 4096;

  constructor(native: Native, ring: Address) {
    this.#native = native;
    this.#ring = ring;
  }

  /** Lanes that reads have. */
  get used(): number {
    return this.#made - this.#free.length;
  }

  acquire(): Lane {
    if (this.#free.length === 0) this.#grow();
    return this.#free.pop()!;
  }

  release(lane: Lane): void {
    this.#free.push(lane);
  }

  #grow(): void {
    const length = 2 * LANE_BYTES * LANES_PER_CHUNK;
    const address = this.#native.regionNew(this.#ring, length, 0, 0);
    if (address === null) throw new Error("bun-uring: no memory for whole-file reads");
    this.#made += LANES_PER_CHUNK;
    const memory = memoryAt(address, length);
    for (let i = 0; i < LANES_PER_CHUNK; i++) {
      const start = i * 2 * LANE_BYTES;
      this.#free.push(new Lane(address + start, Buffer.from(memory, start, 2 * LANE_BYTES)));
    }
  }

  /** Takes note of a file's length. What a large one costs the wrong way is far more than what a small one gains. */
  learn(length: number): void {
    const more = Math.min(length, 2 * LANE_BYTES) - this.expected;
    this.expected += more / (more > 0 ? 4 : 32);
  }

  /** The lane's first `length` bytes as the user gets them. */
  result(lane: Lane, length: number, encoding: BufferEncoding | null): Buffer | string {
    this.learn(length);
    if (encoding === "utf8") return (lane.bytes as Utf8Buffer).utf8Slice(0, length);
    if (encoding !== null) return lane.bytes.toString(encoding, 0, length);
    const result = Buffer.allocUnsafe(length);
    result.set(lane.bytes.subarray(0, length));
    return result;
  }
}
