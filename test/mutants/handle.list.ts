// Mutations of rooms handle and fs: coalesced writes, order at the file's own position, group commit, positions of durable writes.

import { inFile, type Mutant } from "./mutant.ts";

const GATHER = ["unit/gather", "unit/gather-steps", "unit/syncs", "contract/handle-write"];

const list: readonly Mutant[] = [
  ...inFile("handle/coalesce.ts", { tests: GATHER }, [
    ["a flushed write joins plain ones, and is not synced", "batch.flush === flush && batch.bytes", "batch.bytes"],
    ["what comes late joins a batch that has begun", "if (this.#open === batch) this.#open = null;", ""],
    ["a batch is joined though others came behind it", "if (fits && this.#order.isLast(batch.turn!)) {", "if (fits) {"],
    [
      "a gathered sync that fails is told to the first only",
      "for (const { resolve, length } of calls) resolve(failedAt(error, length));\n        return calls.length;",
      "calls[0]!.resolve(failedAt(error, calls[0]!.length));\n        return calls.length;",
    ],
    ["a batch grows beyond its bounds", "batch.bytes + length <= BATCH_BYTES", "batch.bytes <= BATCH_BYTES * 1024"],
    [
      "a write of another file system is joined",
      "const together = rest.length === 1 || (yield* doneOr(this.#mayJoin(), false));",
      "const together = true;",
      { tests: [...GATHER, "fault/flush"] },
    ],
    [
      "what was written of a failed durable batch is not synced",
      "if (count > 0) yield* doneOr(this.#syncAlone(calls.slice(0, count)), undefined);",
      "for (const { resolve, length } of calls.slice(0, count)) resolve(length);",
    ],
    [
      "a failed durable batch leaves those behind it waiting",
      "calls[count]!.resolve(failedAt(error, left));\n      return count + 1;",
      "calls[count]!.resolve(failedAt(error, left));\n      return calls.length;",
    ],
    ["a short write settles too many", "} while (left > 0);", "} while (left >= 0 && count < calls.length);"],
    [
      "a gathered sync is not counted among the file's",
      'const synced = this.#syncs.keepFailure("fdatasync", this.#syncs.include(work));',
      'const synced = this.#syncs.keepFailure("fdatasync", work);',
    ],
    [
      "a view that was taken away is written all the same",
      "if (byteLengthOf(view) === byteLength) return true;",
      "return true;",
    ],
    [
      "the view's offset is lost",
      "bytesOf(view).subarray(offset, offset + length), bytes.subarray(at)",
      "bytesOf(view).subarray(0, length), bytes.subarray(at)",
    ],
    [
      "an error is shared by all whom it concerns",
      "return lateRejection(() => Object.assign(systemError(errno, syscall!), { bytesWritten }));",
      "return Promise.reject(Object.assign(error as object, { bytesWritten }));",
    ],
    [
      "without memory for the copy all are left waiting",
      "for (const { reject } of rest) reject(error); // no memory",
      "rest[0]!.reject(error); // no memory",
    ],
  ]),
  ...inFile(
    "handle/order.ts",
    {
      tests: [
        "unit/gather-steps",
        "unit/gather",
        "contract/handle-write",
        "contract/handle-read",
        "contract/handle-stat-truncate-sync-close",
      ],
    },
    [
      [
        "a write at the own position overtakes a read",
        "this.#last = this.#lastWrite = this.#ended;",
        "this.#lastWrite = this.#ended;",
      ],
      [
        "a read at the own position overtakes a write",
        "this.#last = this.#lastRead = this.#ended;",
        "this.#lastRead = this.#ended;",
      ],
      [
        "the first operation of an idle file is not remembered",
        "this.isIdle ? this.#remember(run(), byteLength, false) : this.writeInOrder(run)",
        "this.isIdle ? run() : this.writeInOrder(run)",
      ],
      [
        "what is held lets go of the order too early",
        "if (this.#file.inFlight === 0)\n        this.#last = this.#lastOperation = this.#ended = this.#lastRead = this.#lastWrite = null;",
        "this.#last = this.#lastOperation = this.#ended = this.#lastRead = this.#lastWrite = null;",
      ],
      [
        "close does not wait for operations of several steps",
        "if (this.#held === 0 && this.#users.size === 0) return run();",
        "if (this.#users.size === 0) return run();",
      ],
      [
        "after a failure at the own position nothing goes on",
        "operation.then(ended, ended);",
        "operation.then(ended);",
        { tests: ["unit/file-handle", "contract/handle-write"] },
      ],
      [
        "a read that waits on a pipe holds up the write that brings its data",
        "(seekable) => (seekable ? last : lastOfKind)",
        "() => last",
        { tests: ["contract/handle-read", "contract/odd-files", "unit/gather-steps"] },
      ],
      [
        "what waits for its turn is not begun at the end of the thread",
        "      begin().catch(() => {});\n      moved = Moved.moves;",
        "      void begin;",
        { tests: ["contract/exit"] },
      ],
      [
        "a throw leaves the file held",
        "    } catch (error) {\n      release();\n      throw error;",
        "    } catch (error) {\n      throw error;",
      ],
    ],
  ),
  ...inFile("handle/group-commit.ts", { tests: ["unit/syncs", "unit/gather-steps"] }, [
    [
      "a sync that has begun serves who comes later",
      "    this.#next = null;\n    return this.include",
      "    return this.include",
    ],
    ["a failed sync is forgotten", 'if (error.syscall !== "write") this.#errno ||= error.errno ?? 0;', ""],
    ["a failed write poisons the syncs", 'if (error.syscall !== "write") this.#errno ||=', "this.#errno ||="],
    ["an fsync that joins stays an fdatasync", 'if (syscall === "fsync") round.syscall = syscall;', ""],
    [
      "a sync begins beside one that runs",
      "const before = Promise.allSettled(this.#running);",
      "const before = Promise.resolve();",
    ],
    [
      "a failure beside it is not waited for",
      "if (this.#running.size > 0) await Promise.allSettled(this.#running);",
      "",
    ],
    [
      "a success after a failure counts",
      "return errno === 0 ? undefined : lateRejection(() => systemError(errno, syscall));",
      "",
    ],
    [
      "who shares a failure shares the error's name",
      "return lateRejection(() => systemError(error.errno, syscall));",
      "return passedOn(error);",
    ],
  ]),
  ...inFile(
    "handle/core.ts",
    {
      tests: [
        "unit/gather",
        "unit/gather-steps",
        "contract/handle-write",
        "contract/handle-readv-writev",
        "contract/handle-stat-truncate-sync-close",
      ],
    },
    [
      ["flush is not heard", "const run = flush ? durable : plain;", "const run = plain;"],
      [
        "a durable write at the own position is out of turn",
        "position < 0 ? this.#order.writeInOrder(work) : this.#order.hold(work)",
        "this.#order.hold(work)",
      ],
      [
        "a durable write beside a sync has none",
        'const shared = (): Promise<void> => this.#syncs.sync("fdatasync");',
        "const shared = (): Promise<void> => Promise.resolve();",
      ],
      [
        "a sync does not keep the file open",
        "return this.#order.hold(() => this.#syncs.sync(syscall));",
        "return this.#syncs.sync(syscall);",
      ],
      [
        "close does not wait",
        "this.#closed = this.#order.whenUnused(() => this.#backend.close(this.#file));",
        "this.#closed = this.#backend.close(this.#file);",
      ],
      [
        "who keeps the file open is not told of the close",
        "    this.#order.tellUsers();",
        "",
        { tests: ["contract/streams", "contract/streams-left"] },
      ],
    ],
  ),
  ...inFile("fs/opendir.ts", { on: ["ring"], tests: ["lifetime/workers"] }, [
    [
      "a folder that was closed at once is closed again when the Worker ends",
      "    closeSync(disown(this.#folder));",
      "    closeSync(this.#folder.fd);\n    this.#folder.fd = -1;",
    ],
  ]),
  ...inFile("fs/watch.ts", { tests: ["contract/options"] }, [
    [
      "options are read again",
      "return { persistent, recursive, maxQueue, overflow, ignore, encoding, signal };",
      "return { ...given, persistent, recursive, maxQueue, overflow } as never;",
    ],
  ]),
];

export default list;
