// Mutations of the node backend, of what both backends share, and of O_DIRECT.

import { inFile, type Mutant } from "./mutant.ts";

const node = ["node"] as const;

const list: readonly Mutant[] = [
  ...inFile(
    "backend/node-whole-file.ts",
    { on: node, tests: ["unit/node-backend", "contract/write-file", "contract/read-file", "fault/flush"] },
    [
      ["flush is Bun's, which hears no failure", "if (!signal && !flush && (yield*", "if (!signal && (yield*"],
      ["flush is not heard", "if (flush) yield* done(backend.fsync(file));", ""],
      [
        "a file that failed to be written keeps what was there before",
        "if (truncates) yield* settled(backend.ftruncate(file, progress.bytesWritten));",
        "",
        { tests: ["fault/fuse-told"] },
      ],
      ["the old end of a file stays", "if (truncates) yield* truncateTo(backend, file, progress.bytesWritten);\n", ""],
      [
        "a device without a length is an error",
        'if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;',
        "throw error;",
      ],
      ["data that was taken away makes an empty file", "if (bytes.byteLength !== byteLength) throw dataTaken();", ""],
      [
        "memory of a pool is lent on while it is written",
        "const lease = options.isOwned ? null : acquireLeased(data);",
        "const lease = data === null ? acquireLeased(data) : null;",
        { tests: ["unit/pool"] },
      ],
      [
        "the descriptor stays open after a failure",
        "  yield* settled(backend.close(file));\n    throw error;",
        "  throw error;",
      ],
      [
        "a failed write leaves the file as Bun has left it",
        "if (!isOpen && truncatesLate(flags, bytes.byteLength)) return resolve(false);",
        "",
        {
          tests: ["fault/fuse-told"],
          survives:
            "Bun 1.4.5 cuts the file itself to what it has written of it; the second try is for versions that do not",
        },
      ],
    ],
  ),
  ...inFile(
    "backend/node.ts",
    {
      on: node,
      tests: [
        "unit/node-backend",
        "contract/handle-stat-truncate-sync-close",
        "contract/handle-read",
        "contract/handle-write",
        "lifetime/handles",
      ],
    },
    [
      [
        "close does not wait for the file's operations",
        "  if (file.inFlight > 0) {\n      await new",
        "  if (file.inFlight > 1e9) {\n      await new",
      ],
      [
        "sync is datasync",
        'onFile(file, "fsync", bunFs.fsync, assumedDone)',
        'onFile(file, "fsync", bunFs.fdatasync, assumedDone)',
        { survives: "what fdatasync leaves out is not seen before a power cut" },
      ],
      [
        "sync does nothing",
        'return onFile(file, "fdatasync", bunFs.fdatasync, assumedDone);',
        "return Promise.resolve();",
        { tests: ["fault/flush"] },
      ],
      [
        "pool memory is lent while it is read into",
        "return held === null ? result : result.finally(() => held.release());",
        "held?.release();\n  return result;",
        { tests: ["unit/pool", "lifetime/pool"] },
      ],
      [
        "a buffer that was taken away while it waited is written",
        'if (byteLengthOf(buffer) < offset + length) return Promise.reject(bufferTaken("write"));',
        "",
        { tests: ["unit/gather"] },
      ],
    ],
  ),
  ...inFile(
    "backend/loops.ts",
    {
      on: node,
      tests: ["unit/loops", "contract/handle-readfile-writefile", "contract/read-file", "contract/write-file"],
    },
    [
      [
        "a short read is the end",
        "    if (bytesRead === 0) break;\n    filled += bytesRead;",
        "    filled += bytesRead;\n    if (bytesRead < length) break;",
      ],
      [
        "a position beyond every file is one within",
        "position > Number.MAX_SAFE_INTEGER ? Number.MAX_SAFE_INTEGER : Number(position)",
        "Number(position & BigInt(Number.MAX_SAFE_INTEGER))",
        { tests: ["unit/node-backend", "contract/handle-read", "contract/handle-write"] },
      ],
      ["a durable write is not synced", "    yield* done(sync());\n  });", "  });"],
      [
        "the rest of a short durable write goes to the beginning",
        "const at = position < 0 ? -1 : position + progress.bytesWritten - start;\n      yield*",
        "const at = position;\n      yield*",
      ],
      ["bytes of a short vector are written twice", "const first = Math.min(ahead, lengths[i]!);", "const first = 0;"],
      ["a long vector goes on after a short write", "if (bytesWritten < totalLength(part)) break;", ""],
      [
        "the second part of a long vector goes to the first's place",
        "const at = position < 0 ? position : position + written;",
        "const at = position;",
      ],
      [
        "a file that takes nothing is tried for ever",
        'if (bytesWritten === 0) throw systemError(errnoOf("ENOSPC"), "write"); // what takes nothing and says nothing never will\n    at',
        "at",
      ],
      [
        "what is left of data that was taken away is all of it",
        "if (bytes.byteLength !== byteLength) throw dataTaken(); // else",
        "if (bytes.byteLength !== byteLength) return; // else",
      ],
      [
        "what is written is not counted",
        "    at += bytesWritten;\n    progress.bytesWritten += bytesWritten;\n",
        "    at += bytesWritten;\n",
        { tests: ["unit/loops", "contract/limits", "contract/write-file"] },
      ],
    ],
  ),
  ...inFile("backend/direct.ts", { tests: ["contract/direct"] }, [
    [
      "an O_DIRECT read whose buffer was taken resolves",
      "if (isDetached(view) || byteLengthOf(view) < offset + length) throw bufferTaken(syscall);",
      "",
    ],
    [
      "what aligned memory held before is written for data that was taken away",
      'if (bytes.length !== length) throw bufferTaken("write");\n      copyAll',
      "copyAll",
    ],
    [
      "a write whose buffer was taken between two parts is a short one",
      "if (bytes.length !== length) throw bufferTaken(syscall);\n      const from",
      "const from",
      { survives: "each part is looked at by itself" },
    ],
    [
      "a read whose buffer was taken away is at the end of the file",
      'if (into.length !== wanted) throw bufferTaken("read");',
      "if (into.length !== wanted) return 0;",
      { survives: "what has been read in parts is looked at once more" },
    ],
    ["a padded end stays", "if (now > right) await this.#base.ftruncate(this.#file, right);", ""],
    [
      "a block's other bytes are lost",
      "isHeadPart ? this.#readBlock(memory.subarray(0, block), from) : null,",
      "null,",
    ],
    [
      "a block's end is lost",
      "isTailPart ? this.#readBlock(memory.subarray(last - from, to - from), last) : null,",
      "null,",
    ],
    [
      "two who change one block work at once",
      "const result = this.#ranges.run(from, to, from !== at || to !== end, write);",
      "const result = this.#ranges.run(from, to, false, write);",
    ],
    ["close does not wait", "    await this.#ranges.idle();\n", ""],
    [
      "the own position does not go along",
      "    this.#position = claim.start + moved;\n    claim.claimed?.settle(moved);",
      "    claim.claimed?.settle(moved);",
      { on: node },
    ],
    [
      "a handle that only writes reads",
      'if (this.#options.writeOnly) return Promise.reject(systemError(errnoOf("EBADF"), "read"));',
      "",
    ],
    [
      "an error after some bytes loses them",
      "if (from === 0 || bytes.length !== length) throw error;\n",
      "throw error;\n",
      { tests: ["contract/direct", "fault/told"] },
    ],
  ]),
  ...inFile("backend/range-lock.ts", { tests: ["contract/direct", "unit/loops"] }, [
    [
      "neighbours wait for each other's last byte only",
      "held.start < end && start < held.end",
      "held.start < end - 1 && start < held.end - 1",
    ],
    ["work after a failure is not let in", "mine.done = result.then(done, done);", "mine.done = result.then(done);"],
  ]),
  ...inFile("node/abort.ts", { tests: ["contract/abort-signal", "contract/limits"] }, [
    [
      "an aborted write does not say what is written",
      "return lateRejection(() => Object.assign(abortError(signal), { bytesWritten: progress.bytesWritten }));",
      "return lateRejection(() => abortError(signal));",
    ],
    ["a timer outlives its call", "  } finally {\n    clearTimeout(timer);\n", "  } finally {\n"],
    ["a listener outlives its call", "    if (signal !== undefined) offAbort(signal, forward);\n", ""],
    ["a timeout is an abort", "if (late === null || (error as Error).cause !== late) throw error;", "throw error;"],
  ]),
  ...inFile("node/exit.ts", { tests: ["contract/exit"] }, [
    ["an exit's later listeners are not heard", "    queueMicrotask(goLast);\n", ""],
    [
      "nothing is waited for",
      "if (moved === Moved.idle || elapsedMs - movedAt > LIMIT_MS || elapsedMs > TOTAL_MS) break;",
      "break;",
    ],
  ]),
];

export default list;
