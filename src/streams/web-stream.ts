// The web stream of a FileHandle: a byte stream that is read ahead, and reads straight into the buffers of a BYOB reader.
// Assumes that the handle allows one such stream; closes the handle only if asked to.

import type { ReadableStream } from "node:stream/web";
import { codedError, validateBoolean, validateObject } from "../node/arguments.ts";
import { ReadAhead, type StreamSource } from "./read-ahead.ts";

export interface WebStreamOptions {
  /** Closes the handle at the end, after an error and when cancelled (default false). */
  autoClose?: boolean | undefined;
  /** Has no effect but a warning, as in Node, unless it is "bytes". */
  type?: unknown;
}

interface WebStreamHandle {
  close(): Promise<void>;
}

/** What `new ReadableStream` takes for a byte stream. */
type ByteSource = Exclude<ConstructorParameters<typeof globalThis.ReadableStream>[0], undefined>;

const CHUNK_BYTES = 256 * 1024;

/** Files of which a web stream was made. */
const locked = new WeakSet<object>();

/**
 * A byte stream from the file's own position to its end. Throws ERR_INVALID_STATE if the handle is closed, is `closing`,
 * or has had one, and ERR_INVALID_ARG_TYPE for wrong options.
 */
export function openWebStream(
  handle: WebStreamHandle,
  source: StreamSource,
  closing: boolean,
  options: WebStreamOptions = {},
): ReadableStream {
  const { file } = source;
  const refusal = file.fd < 0 ? "closed" : closing ? "closing" : locked.has(file) ? "locked" : null;
  if (refusal !== null) throw codedError(Error, "ERR_INVALID_STATE", `Invalid state: The FileHandle is ${refusal}`);
  validateObject(options, "options");
  const { autoClose = false, type = "bytes" } = options;
  validateBoolean(autoClose, "options.autoClose");
  if (type !== "bytes") {
    process.emitWarning(
      // Node's own spelling.
      'A non-"bytes" options.type has no effect. A byte-oriented steam is always created.',
      "ExperimentalWarning",
    );
  }
  locked.add(file);
  const bytes: ByteSource = new FileByteSource(handle, source, autoClose);
  return new globalThis.ReadableStream(bytes) as unknown as ReadableStream;
}

/** The source of one web stream. It keeps the file open until it is done, or is collected. */
class FileByteSource implements ByteSource {
  readonly type = "bytes";
  readonly #handle: WebStreamHandle;
  readonly #source: StreamSource;
  readonly #autoClose: boolean;
  readonly #ahead: ReadAhead;
  readonly #release: () => void;
  #controller: ReadableByteStreamController | null = null;
  /** Ends the waiting of `pull`. */
  #wake: (() => void) | null = null;
  #done: Promise<void> | null = null;

  constructor(handle: WebStreamHandle, source: StreamSource, autoClose: boolean) {
    this.#handle = handle;
    this.#source = source;
    this.#autoClose = autoClose;
    this.#ahead = new ReadAhead(source, {
      position: -1,
      byteLimit: Infinity,
      chunkBytes: CHUNK_BYTES,
      onReady: () => this.#wakeUp(),
    });
    this.#release = source.order.keepOpen(() => this.#handleClosed());
  }

  start(controller: ReadableByteStreamController): void {
    this.#controller = controller;
  }

  pull(controller: ReadableByteStreamController): Promise<void> | undefined {
    const request = controller.byobRequest;
    if (request && this.#ahead.isIdle) return this.#readInto(controller, request);
    let chunk: Buffer | null | undefined;
    try {
      chunk = this.#ahead.take();
    } catch (error) {
      return this.#finish().then(() => Promise.reject(error));
    }
    if (chunk === null) return this.#end(controller);
    if (chunk !== undefined) return void controller.enqueue(chunk as NonSharedBuffer);
    return new Promise<void>((resolve) => {
      this.#wake = resolve;
    }).then(() => (this.#done === null ? this.pull(controller) : undefined));
  }

  cancel(): Promise<void> {
    return this.#finish();
  }

  async #readInto(controller: ReadableByteStreamController, request: ReadableStreamBYOBRequest): Promise<void> {
    const { backend, file, order } = this.#source;
    const view = request.view!;
    const length = view.byteLength;
    try {
      const { bytesRead } = await order.read(-1, length, () => backend.read(file, view, 0, length, -1));
      if (this.#done !== null) return;
      if (bytesRead === 0) return this.#end(controller);
      request.respond(bytesRead);
    } catch (error) {
      await this.#finish();
      throw error;
    }
  }

  /** The handle goes first: whoever has read all finds it closed, where that was asked for. */
  async #end(controller: ReadableByteStreamController): Promise<void> {
    await this.#finish();
    controller.close();
    controller.byobRequest?.respond(0);
  }

  /** Somebody closes the handle: the stream ends here, as in Node. */
  #handleClosed(): void {
    if (this.#done !== null) return;
    const finished = this.#finish();
    this.#controller?.close();
    this.#controller?.byobRequest?.respond(0);
    this.#wakeUp();
    void finished;
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }

  /** Lets go of the handle once the kernel is done with all memory, and closes it if that was asked for. */
  #finish(): Promise<void> {
    this.#done ??= this.#ahead.stop().then(() => {
      this.#release();
      return this.#autoClose ? this.#handle.close() : undefined;
    });
    return this.#done;
  }
}
