// Owns the ground of the hostile program: files that tell their own bytes, buffers between canaries, the FIFO that calls are
// parked on, and the record of what every call came to.
// Assumes a folder of its own, which is made and looked at with node:fs only.
// Never decides what a call should have said: a move brings its own judge; here only what no call may ever do is judged.

import { closeSync, constants, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { Random } from "../model/operations.ts";

const ZONE = 4096;
const CANARY = 0xc5;
/** What a buffer holds before it is given to a read. */
export const FRESH = 0x11;
/** What the FIFO brings. */
export const FED = 0xf1;
const SETTLE_MS = 8000;

/** Bytes of file `id`: each tells the file and its place. */
export function content(id: number, length: number, from = 0): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = ((i + from) * 31 + ((i + from) >>> 8) * 7 + id * 59) & 0xff;
  return bytes;
}

/** Memory with a view of it in the middle; the rest must stay as it is. */
export interface Arena {
  readonly view: Uint8Array<ArrayBuffer>;
  /** All of it; another object once the memory was transferred. */
  whole: Uint8Array<ArrayBuffer>;
}

export interface Call {
  readonly name: string;
  settled: number;
}

export class World {
  readonly random: Random;
  readonly dir: string;
  /** What was not as it must be. */
  readonly wrong: string[] = [];
  readonly fifo: string;
  readonly #feeder: number;
  readonly #arenas: Arena[] = [];
  readonly #calls: Call[] = [];
  readonly #running: Promise<void>[] = [];
  readonly #atEnd: [name: string, what: () => unknown][] = [];
  #names = 0;
  /** Set while a shutdown that does not wait may end any call. */
  mayBeCancelled = false;

  constructor(seed: number, dir: string) {
    this.random = new Random(seed);
    this.dir = dir;
    mkdirSync(dir, { recursive: true });
    this.fifo = this.path("fifo");
    if (Bun.spawnSync(["mkfifo", this.fifo]).exitCode !== 0) throw new Error("mkfifo failed");
    this.#feeder = openSync(this.fifo, constants.O_RDWR | constants.O_NONBLOCK);
  }

  path(name: string = "p"): string {
    return `${this.dir}/${name}${this.#names++}`;
  }

  /** A file whose bytes tell `id`. */
  file(id: number, length: number, dir: string = this.dir): string {
    const path = `${dir}/file${this.#names++}`;
    writeFileSync(path, content(id, length));
    return path;
  }

  arena(length: number, fill: number = FRESH): Arena {
    const buffer = new ArrayBuffer(ZONE + length + ZONE);
    const whole = new Uint8Array(buffer).fill(CANARY);
    const view = new Uint8Array(buffer, ZONE, length).fill(fill);
    const arena = { view, whole };
    this.#arenas.push(arena);
    return arena;
  }

  /** Gives the arena's memory to another owner; its address stays. */
  transfer(arena: Arena): void {
    arena.whole = new Uint8Array(structuredClone(arena.whole.buffer, { transfer: [arena.whole.buffer] }));
  }

  /** `bytes` must be the file's own, from `offset` on. */
  mustBe(name: string, bytes: Uint8Array, id: number, offset = 0): void {
    if (!Buffer.from(bytes).equals(content(id, bytes.length, offset))) this.wrong.push(`${name}: foreign bytes`);
  }

  onDisk(name: string, path: string, expected: Uint8Array): void {
    if (!readFileSync(path).equals(expected)) this.wrong.push(`${name}: foreign bytes on disk`);
  }

  /** As `onDisk`; over a shutdown for these chunks: between them there is what is expected, or nothing (zeros, the end). */
  chunksOnDisk(name: string, path: string, expected: Uint8Array, chunks: readonly [at: number, size: number][]): void {
    if (!this.mayBeCancelled) return this.onDisk(name, path, expected);
    const found = readFileSync(path);
    const whole = Buffer.from(expected);
    for (const [at, size] of chunks)
      if (!found.subarray(at, at + size).equals(whole.subarray(at, at + size)))
        this.wrong.push(`${name}: a chunk that was written is not on disk`);
    if (found.length > whole.length || found.some((byte, i) => byte !== 0 && byte !== whole[i]))
      this.wrong.push(`${name}: foreign bytes on disk`);
  }

  fail(name: string, what: string): void {
    this.wrong.push(`${name}: ${what}`);
  }

  /** Something to be done when the round is over, before the tables are looked at. */
  atEnd(name: string, what: () => unknown): void {
    this.#atEnd.push([name, what]);
  }

  /**
   * A call that must settle once. `codes`: the ways in which it may fail. `judge` looks at what it resolved with.
   */
  call<T>(name: string, promise: Promise<T>, codes: readonly string[], judge: (value: T) => unknown = () => {}): void {
    const call: Call = { name, settled: 0 };
    this.#calls.push(call);
    const allowed = (code: string): boolean => codes.includes(code) || (this.mayBeCancelled && code === "ECANCELED");
    const end = promise.then(
      async (value) => {
        call.settled++;
        await judge(value);
      },
      (error) => {
        call.settled++;
        const code = String(error?.code ?? error?.message);
        if (!allowed(code)) this.fail(name, `rejected: ${error?.stack ?? error}`);
      },
    );
    this.#running.push(end.catch((error) => this.fail(name, `judged: ${error?.stack ?? error}`)));
  }

  /** A function that must be called once, as a callback. */
  callback<A extends unknown[]>(name: string, body: (...args: A) => void): (...args: A) => void {
    const call: Call = { name, settled: 0 };
    this.#calls.push(call);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#running.push(promise);
    return (...args) => {
      call.settled++;
      resolve();
      body(...args);
    };
  }

  feed(byteLength: number = 4096): void {
    try {
      writeSync(this.#feeder, Buffer.alloc(byteLength, FED));
    } catch {
      // EAGAIN: it is full
    }
  }

  /** Waits until every call has settled; then looks at the canaries. */
  async settle(): Promise<void> {
    let over = false;
    const all = (async () => {
      // A judge may begin further calls.
      for (let done = 0; done < this.#running.length; done++) await this.#running[done];
      over = true;
    })();
    const since = performance.now();
    while (!over && performance.now() - since < SETTLE_MS) {
      this.feed();
      await Promise.race([all, Bun.sleep(5)]);
    }
    for (const { name, settled } of this.#calls)
      if (settled !== 1) this.fail(name, settled === 0 ? "has not settled" : `has settled ${settled} times`);
    for (const [name, what] of this.#atEnd) {
      const late = Bun.sleep(SETTLE_MS).then(() => "late");
      if ((await Promise.race([what(), late])) === "late") this.fail(name, "has not ended");
    }
    this.#running.length = this.#calls.length = this.#atEnd.length = 0;
    this.checkCanaries();
    this.#arenas.length = 0;
  }

  checkCanaries(): void {
    for (const { whole } of this.#arenas) {
      const before = whole.subarray(0, ZONE);
      const behind = whole.subarray(whole.length - ZONE);
      for (const zone of [before, behind])
        if (zone.some((byte) => byte !== CANARY)) this.fail("canary", "bytes beside a buffer were changed");
    }
  }

  close(): void {
    closeSync(this.#feeder);
  }
}
