// Mutations of room backend/uring: whole files and copies by chains, durable writes, transfers, positions, batches, closing.

import { inFile, type Mutant } from "./mutant.ts";

const on = ["ring"] as const;

const list: readonly Mutant[] = [
  ...inFile(
    "backend/uring/durable-write.ts",
    { on, tests: ["fault/told", "unit/gather", "contract/handle-write", "contract/shared-position"] },
    [
      [
        "a sync that was cancelled is not made up for",
        "if (synced === ECANCELED || synced === EINTR) return yield* done(fdatasync(file));",
        "",
      ],
      [
        "a sync that was interrupted is not made up for",
        "synced === ECANCELED || synced === EINTR",
        "synced === ECANCELED",
      ],
      ["a sync that failed is not told", 'if (synced < 0) throw systemError(synced, "fdatasync");', ""],
      ["the rest of a short write goes to the beginning", "position + progress.bytesWritten - start", "position"],

      [
        "a write that takes nothing is tried for ever",
        'if (written === 0) throw systemError(errnoOf("ENOSPC"), "write"); // what',
        "// what",
      ],
      [
        "what is left of a buffer begins at its beginning",
        "left.push(skip === 0 ? view : view.subarray(skip))",
        "left.push(view)",
      ],
      [
        "a resizable buffer is not copied",
        "isResizable(view) ? Buffer.from(view) : view",
        "view",
        { tests: ["fault/told"] },
      ],
      ["the position is not settled", "  settlePosition(operation, outcome.written);\n", ""],
      [
        "a durable write whose data was taken resolves",
        "resolve(intact ? outcome : lateRejection(dataTaken));",
        "resolve(outcome);",
        { tests: ["fault/told", "unit/syncs"] },
      ],
    ],
  ),
  ...inFile("backend/uring/write-file.ts", { on, tests: ["fault/told", "unit/uring-whole", "contract/write-file"] }, [
    ["a large flushed writeFile forgets a failed sync", '    if (res < 0) throw systemError(res, "fsync");\n', ""],
    ["a large flushed writeFile does not sync", "if (!work.flush) return;", "return;"],
    [
      "a sync in the chain that fails is not told",
      'if (this.flush && results[SYNC]! < 0) return late(() => systemError(honest(results[SYNC]!), "fsync"));',
      "",
    ],
    [
      "a sync in the chain that was interrupted is not made up for",
      "|| (this.flush && isUndone(this.results[SYNC]!))",
      "",
    ],
    [
      "a file that failed to be written keeps what was there before",
      'if (truncates) yield* done(run(t, Opcode.FTRUNCATE, "ftruncate", 0, source, progress.bytesWritten, 0, 0, null, null));',
      "",
    ],
    [
      "the old end of an overwritten file stays",
      "if (truncates) this.link(TRUNCATE, Opcode.FTRUNCATE, linked, slot, length, 0, 0, 0);",
      "if (truncates) this.link(TRUNCATE, Opcode.NOP, SqeFlag.IO_LINK, -1, 0, 0, 0, 0);",
    ],
    [
      "a failing close after the chain is swallowed",
      'return isCloseError(results[CLOSE]!) ? late(() => systemError(results[CLOSE]!, "close")) : null;',
      "return null;",
    ],
    [
      "an error of the write's is hidden by that of the close",
      "      yield* settled(close(file));\n      throw error;",
      "      yield* done(close(file));\n      throw error;",
      { tests: ["fault/told", "fault/fuse-told"] },
    ],
    [
      "what closing a file says is swallowed",
      "    yield* done(close(file));\n  } finally {",
      "    yield* settled(close(file));\n  } finally {",
      { tests: ["fault/told", "fault/fuse-told"] },
    ],
    [
      "data that was taken away while it was written passes",
      "if (bytes.length !== total) throw dataTaken();",
      "",
      { tests: ["fault/told", "contract/write-file", "lifetime/buffers"] },
    ],
    [
      "data that was taken away while its file was opened passes",
      "if (this.data.length !== this.#length) this.error ??= late(dataTaken);",
      "",
      { tests: ["fault/told", "contract/write-file", "lifetime/buffers"] },
    ],
    [
      "the rest is written at the beginning",
      "SqeFlag.ASYNC, source, at, address, length, bytes, signal",
      "SqeFlag.ASYNC, source, 0, address, length, bytes, signal",
    ],
    ["a failed write of the rest is taken for bytes", 'if (res < 0) throw systemError(res, "write");\n', ""],
    [
      "an error of the chain's write is gone on from",
      'if (write! < 0 && !isUndone(write!)) return late(() => systemError(write!, "write"));',
      "",
    ],
    [
      "pool memory is lent again while a chain writes it",
      "this.operation.lease = acquireLeased(view);",
      "",
      { tests: ["lifetime/pool", "unit/pool", "fault/told"] },
    ],
  ]),
  ...inFile(
    "backend/uring/read-file.ts",
    { on, tests: ["fault/told", "unit/uring-whole", "contract/read-file", "unit/uring-chain"] },
    [
      [
        "a read that was interrupted is taken for the end",
        "isToRepeat(first) || isToRepeat(second)",
        "isToRepeat(second)",
      ],
      ["an error of the second read is swallowed", "if (first < 0 || second < 0) {", "if (first < 0) {"],
      [
        "the second read is not looked at",
        "(second > 0 || isToRepeat(first)",
        "(isToRepeat(first)",
        { tests: ["fault/told", "contract/odd-files"] },
      ],
      [
        "the read buffer is not given back",
        "if (this.#buffer !== null) this.t.readBuffers.release(this.#buffer);",
        "",
        { tests: ["fault/told"] },
      ],
      [
        "a large cached read that falls short counts as whole",
        "if (bytes === null || t.native.readOpened(fd, bytes, size) < size)",
        "if (bytes === null || t.native.readOpened(fd, bytes, size) < 0)",
      ],
    ],
  ),
  ...inFile(
    "backend/uring/read-rest.ts",
    { on, tests: ["fault/told", "unit/uring-whole", "contract/read-file", "unit/changing-files"] },
    [
      [
        "the result's memory goes with the ring",
        "const address = size > MAPPED_BYTES ? native.regionNew(ring.address, size, 1, 1) : null;",
        "const address = size > MAPPED_BYTES ? native.regionNew(ring.address, size, 1, 0) : null;",
      ],
      ["a file that shrank is padded", "fileEnd = Math.min(fileEnd, done); // it shrank", ""],
      [
        "what a file grew by is left out",
        "return fileEnd < size ? this.#result() : this.#unsized(false);",
        "return this.#result();",
      ],
      [
        "a failure is told while the kernel still writes",
        "await Promise.all(workers); // also after",
        "await Promise.race(workers); // also after",
      ],
      [
        "a failed read leaves the result's memory",
        "      target.release();\n      throw failure;",
        "      throw failure;",
      ],
      [
        "a failed read is taken for the end",
        '          if (res < 0) throw systemError(res, "read");\n          if (res === 0) {',
        "          if (res <= 0) {",
      ],
      [
        "what a pipe gave with the second read is lost",
        "if (!seekable && second > 0) this.#add(Buffer.from(buffer.bytes.subarray(READ_BYTES, READ_BYTES + second)));",
        "",
        { tests: ["fault/told", "contract/odd-files"] },
      ],
      ["the first part of a large file is lost", "      target.bytes.set(part, next);\n", ""],
      [
        "memory of one chunk is not given back",
        "    memory.release(); // its CQE",
        "    // its CQE",
        { tests: ["fault/told", "lifetime/late-memory"] },
      ],
    ],
  ),
  ...inFile("backend/uring/linked.ts", { on, tests: ["fault/told", "unit/uring-chain", "contract/abort-signal"] }, [
    [
      "a direct descriptor is given back though its file is open",
      "if (!this.isOpen) return this.#settle();",
      "return this.#settle();",
    ],
    [
      "a CLOSE that was never begun is not tried again",
      "if (res === ECANCELED && this.operation.retries++ < MAX_RETRIES) {",
      "if (res === ECANCELED && false) {",
    ],
    [
      "a late CLOSE that fails is swallowed",
      'if (isCloseError(res)) this.closeFailed(late(() => systemError(res, "close")));',
      "",
    ],
    ["a direct descriptor is not given back", "if (slot >= 0) t.direct.release(slot);", ""],
    ["an open that was interrupted is an error", "if (res === EINTR && this.error === null) return this.stage();", ""],
    [
      "the signal is listened to for ever",
      "  #unwatch(): void {\n",
      "  #unwatch(): void {\n    if (this.slot >= 0) return;\n",
    ],
    [
      "what waits for a descriptor does not hear its signal",
      "this.t.direct.leave(this.#place!);\n        return this.#settle();",
      "return;",
    ],
    [
      "a closed ring leaves the promise pending",
      "operation.resolve(rejection(error ?? operation.ring.stopError));",
      "",
    ],
    ["a throw while it begins leaves it pending", "this.fail(error as Error); // no memory: nothing is staged yet", ""],
    ["an abort does not reach the kernel", "cancel(operation, LINKS);", ""],
    ["an abort reaches the first link only", "cancel(operation, LINKS);", "cancel(operation, 1);"],
    [
      "one operation after a chain is not tried again",
      "if (isToRepeat(operation, res)) return operation.again!();\n  const { resolve, reject, cancelled }",
      "const { resolve, reject, cancelled }",
    ],
  ]),
  ...inFile("backend/uring/copy-small.ts", { on, tests: ["fault/told", "contract/copy-file", "contract/copy"] }, [
    [
      "a short write of a copy is whole",
      "(size === 0 || results[WRITE] === size)",
      "(size === 0 || results[WRITE]! >= 0)",
      { survives: "a short write breaks the chain, and its CLOSE, which is cancelled then, says the same" },
    ],
    [
      "a failing close of a copy's target is swallowed",
      "const hasClosed = !isCloseError(results[CLOSE]!);",
      "const hasClosed = true;",
    ],
    ["a short read of a copy's source is whole", "const isWhole = results[READ] === size &&", "const isWhole ="],
    [
      "the old end of a copy's target stays",
      "const isCut = !this.#truncates || results[TRUNCATE] === 0;",
      "const isCut = true;",
    ],
    [
      "the source's descriptor stays open where the copy breaks",
      "this.isOpen = results[OPEN_SOURCE]! >= 0 && !isClosed(results[CLOSE]!);",
      "this.isOpen = results[OPEN_TARGET]! >= 0 && !isClosed(results[CLOSE]!);",
    ],
  ]),
  ...inFile(
    "backend/uring/read-write.ts",
    { on, tests: ["fault/told", "contract/shared-position", "contract/handle-read", "contract/handle-write"] },
    [
      [
        "a read whose buffer was taken resolves",
        "if (byteLengthOf(view!) !== operation.byteLength) return memoryTaken(operation);\n  if (operation.standIn",
        "if (operation.standIn",
        { tests: ["fault/told", "lifetime/buffers"] },
      ],
      [
        "a write whose buffer was taken resolves",
        "if (operation.standIn === null && byteLengthOf(view!) !== operation.byteLength) return memoryTaken(operation);",
        "",
        { tests: ["fault/told", "lifetime/buffers"] },
      ],
      [
        "a failed transfer keeps what it claimed of the position",
        "  settlePosition(operation, 0);\n  fail(operation, res);",
        "  fail(operation, res);",
      ],
      [
        "the own position stays where it was after an append",
        "if (res > 0) thread().native.seek(fd, 0, SEEK_END);",
        "",
      ],
      [
        "a second try reads at address 0 of a view that was taken",
        "if (standIn === null && byteLengthOf(view) !== operation.byteLength) return memoryTaken(operation);",
        "",
        { tests: ["fault/told", "lifetime/buffers"] },
      ],
      [
        "a transfer that may wait has the user's memory",
        "const mayWait = !file.seekable || file.remote;",
        "const mayWait = false;",
        { tests: ["lifetime/late-memory", "lifetime/buffers", "contract/odd-files"] },
      ],
      [
        "a resizable buffer is the kernel's",
        "return isResizable(operation.view!);",
        "return false;",
        { tests: ["contract/hostile-arguments", "lifetime/buffers", "fault/told"] },
      ],
      [
        "no memory for a stand-in leaves the position moved",
        "    } catch (error) {\n      settlePosition(operation, 0);\n      end(operation);",
        "    } catch (error) {\n      end(operation);",
      ],
      [
        "position of a pipe is not refused",
        'if (!file.seekable && !isSeekable(file) && position !== -1) return Promise.reject(systemError(ESPIPE, "read"));',
        "if (!file.seekable) isSeekable(file);",
        { tests: ["contract/odd-files", "contract/handle-read", "contract/errors"] },
      ],
    ],
  ),
  ...inFile(
    "backend/uring/own-position.ts",
    { on, tests: ["contract/shared-position", "contract/handle-write", "fault/told"] },
    [
      [
        "what a short transfer leaves of its claim is not given back",
        "if (native.seek(fd, 0, SEEK_CUR) === start + bytes) native.seek(fd, start + moved, SEEK_SET);",
        "",
      ],
      [
        "a position that somebody else has moved is set back",
        "if (native.seek(fd, 0, SEEK_CUR) === start + bytes) native",
        "native",
      ],
    ],
  ),
  ...inFile(
    "backend/uring/vectored.ts",
    { on, tests: ["fault/told", "contract/handle-readv-writev", "contract/shared-position"] },
    [
      [
        "memory that may be resized is the kernel's to read",
        "mayWait || views.some(isResizable)",
        "mayWait",
        { tests: ["unit/file-handle"] },
      ],
      [
        "a vector whose view was taken resolves",
        "if (!isOurs && !held.intact) return memoryTaken(operation);",
        "",
        { tests: ["fault/told", "lifetime/buffers"] },
      ],
      [
        "pool memory in a vector is not held",
        "operation.lease = held;",
        "",
        { tests: ["lifetime/pool", "unit/pool", "fault/told"] },
      ],
      [
        "the position of a vector is not settled",
        "  settlePosition(operation, res);\n  const { resolve, standIn }",
        "  const { resolve, standIn }",
      ],
    ],
  ),
  ...inFile("kernel/copy.ts", { on, tests: ["contract/odd-files", "contract/handle-readv-writev", "fault/told"] }, [
    [
      "a vector is scattered without its lengths",
      "const to = Math.min(bytes.length, from + byteLengthOf(view));",
      "const to = bytes.length;",
    ],
  ]),
  ...inFile("node/path.ts", { on, tests: ["unit/path", "unit/uring-chain"] }, [
    ["a path that waits is the caller's", "Buffer.from(bytesOf(path));", "bytesOf(path) as Buffer;"],
  ]),
  ...inFile("backend/uring/read-batch.ts", { on, tests: ["unit/batch", "fault/told"] }, [
    [
      "a batch whose memory was taken resolves",
      "if (intact) resolve(results);",
      "if (intact || true) resolve(results);",
    ],
    [
      "one read that was interrupted is told",
      "(res === EINTR || (res === EAGAIN && mayRetry(operation, batch)))",
      "(res === EAGAIN && mayRetry(operation, batch))",
    ],
    ["the file of a batch can be closed", "  file.inFlight++;\n", ""],
    ["pool memory of a batch stays held", "batch.held.release();\n  if (--file", "if (--file"],
    [
      "all reads of a batch go to the first buffer",
      "this.addresses[i] = stableAddress(into[i]!, 0)",
      "this.addresses[i] = stableAddress(into[0]!, 0)",
    ],
  ]),
  ...inFile("backend/uring/request.ts", { on, tests: ["fault/told", "contract/abort-signal", "contract/limits"] }, [
    ["ECANCELED that nobody asked for is told as it is", "return res === ECANCELED ? EAGAIN : res;", "return res;"],
    ["EAGAIN is tried again for ever", "(res === EAGAIN && ++operation.retries < MAX_RETRIES)", "res === EAGAIN"],
    ["a second try may not wait either", "return operation.retries === 0 ? 0 : SqeFlag.ASYNC;", "return 0;"],
    [
      "the signal of an ended operation cancels another",
      "if (operation.generation === generation) cancel(operation);\n  };\n  const off",
      "cancel(operation);\n  };\n  const off",
      { tests: ["unit/request"] },
    ],
    [
      "the signal of an operation that has ended at its call cancels the next",
      "if (operation === null || operation.pending === 0) return promise;",
      "if (operation === null) return promise;",
      { tests: ["unit/request"] },
    ],
  ]),
  ...inFile(
    "backend/uring/close.ts",
    { on, tests: ["fault/told", "lifetime/handles", "contract/handle-stat-truncate-sync-close"] },
    [
      ["a CLOSE that was never begun leaks the descriptor", "if (res === ECANCELED) {", "if (res === ECANCELED + 1) {"],
      [
        "a close does not wait for the file's operations",
        "if (file.inFlight === 0) go();\n  else file.closing = go;",
        "go();",
      ],
      ["a close over a stopped ring leaves the descriptor", "if (isIdle) file.closing();", ""],
      [
        "a close without a ring leaves the descriptor",
        "const isIdle = reason === null || file",
        "if (reason === null) return Promise.resolve();\n  const isIdle = file",
      ],
    ],
  ),
];

export default list;
