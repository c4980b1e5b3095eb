// Mutations of room ring: closing a ring, ending a thread, the operation table, memory that the kernel fills late, placement.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are other files' text

import { inFile, type Mutant } from "./mutant.ts";

const on = ["ring"] as const;

const list: readonly Mutant[] = [
  ...inFile("ring/ring.ts", { on, tests: ["lifetime/closed", "lifetime/endings", "unit/ring"] }, [
    ["what was staged when a ring is closed is not closed", "    this.#closeStaged();\n", ""],
    ["a CLOSE that was undone leaks its descriptor", "this.#closeUndone(undone[at]!, undone[at + 1]!);", ";"],
    [
      "whoever waits to close a file waits for ever",
      "if (owner !== null && --owner.inFlight === 0 && owner.closing !== null) owner.closing();",
      "if (owner !== null) owner.inFlight--;",
    ],
    [
      "memory that the kernel kept is lent again",
      "else if (this.isIdle && lease !== null) lease.release();",
      "else if (lease !== null) lease.release();",
      { tests: ["unit/ring", "lifetime/closed", "unit/pool", "lifetime/pool"] },
    ],
    [
      "memory of a ring that closed in peace stays held",
      "else if (this.isIdle && lease !== null) lease.release();",
      "",
      { tests: ["unit/ring", "lifetime/closed", "unit/pool", "lifetime/pool"] },
    ],
    [
      "who waits for a direct descriptor of a closed ring waits for ever",
      "    this.onStopped(this.stopError);\n    this.#abandon();",
      "    this.#abandon();",
    ],
    [
      "a closed ring takes operations",
      "if (this.poisoned !== null || this.closed) this.#refuse();\n    return this.operations.acquire(finish, pending);",
      "return this.operations.acquire(finish, pending);",
    ],
    [
      "a stopped ring leaves its promises pending",
      "      operation.whenStopped?.(operation, false);\n      operation.reject(this.poisoned);",
      "      operation.whenStopped?.(operation, false);",
      { tests: ["unit/ring", "lifetime/closed"] },
    ],
    [
      "SQEs are lost when the staging area grows",
      "grown.set(this.words.subarray(this.#head * SQE_WORDS, this.#tail * SQE_WORDS));",
      "grown.set(this.words.subarray(0, this.#tail * SQE_WORDS));",
      { tests: ["unit/ring", "fault/exhaustion"] },
    ],
    [
      "linked SQEs are torn apart by a grown area",
      "if (this.#tail + count > this.#capacity) this.#makeRoom(count);",
      "if (this.#tail + count > this.#capacity + 1) this.#makeRoom(count);",
      { tests: ["unit/ring", "unit/batch"] },
    ],
    [
      "a completion for nobody is passed over",
      "return this.poison(`a CQE for slot ${low & SLOT_MASK} that waits for none`);",
      "continue;",
      { tests: ["fault/told", "unit/ring"] },
    ],
    [
      "a sync is counted for ever",
      "if (operation.isSync) this.syncing--;",
      "",
      { tests: ["unit/sync-waits", "unit/loop"] },
    ],
  ]),
  ...inFile("ring/operation.ts", { on, tests: ["unit/operation", "unit/ring", "fault/told"] }, [
    [
      "a file does not learn of its operation's end",
      "if (owner !== null && --owner.inFlight === 0 && owner.closing !== null) owner.closing();",
      "if (owner !== null) owner.inFlight--;",
      { tests: ["fault/told", "lifetime/handles"] },
    ],
    [
      "room for a remote operation is kept",
      "if (remote !== null) remote.leave();",
      "",
      { tests: ["unit/operation", "unit/remote"] },
    ],
    ["a slot's lives are not told apart", "operation.generation = (operation.generation + 1) | 0;", ""],
    [
      "lives of a batch's slot are not told apart",
      "operation.life = (operation.life + 1) & LIFE_MASK;",
      "",
      { tests: ["unit/operation", "unit/batch"] },
    ],
    [
      "a slot keeps the last one's tries",
      "    operation.retries = 0;\n",
      "",
      { tests: ["fault/told", "unit/operation"] },
    ],
    [
      "a slot keeps that it was cancelled",
      "    operation.cancelled = false;\n",
      "",
      { tests: ["unit/operation", "contract/abort-signal"] },
    ],
    [
      "a slot keeps its claim of a position",
      "    operation.claim = null;\n",
      "",
      { tests: ["unit/operation", "contract/shared-position"] },
    ],
    [
      "a slot keeps what it does when the ring stops",
      "    operation.whenStopped = null;\n",
      "",
      { tests: ["unit/operation", "lifetime/closed"] },
    ],
  ]),
  ...inFile("ring/direct-descriptors.ts", { on, tests: ["unit/descriptor"] }, [
    ["a user's slot is counted for ever", "    this.users.delete(slot);\n", ""],
    ["users may have all slots", "return Math.floor(this.size / 2);", "return this.size;"],
    ["a stopped table hands out slots", "|| this.#stopped !== null ? -1", "? -1"],
    ["who waits is not told that the ring ended", "for (const { refused } of waiting) refused(error);", ""],
    [
      "who leaves the line keeps those behind it waiting",
      "this.#serveAll(); // it may have been",
      "// it may have been",
    ],
    [
      "one overtakes those who wait",
      "return this.#ownWaiting > 0 || this.#free.length === 0",
      "return this.#free.length === 0",
    ],
    ["a late closing kernel is given any number of files", "return ++this.#lateFiles <= LATE_FILES;", "return true;"],
  ]),
  ...inFile("ring/kernel-memory.ts", { on, tests: ["lifetime/late-memory", "lifetime/closed", "contract/direct"] }, [
    [
      "a pinned buffer goes back before the kernel has",
      "if (this.#leased.inFlight === 0) release();\n    else this.#leased.whenIdle = release;",
      "release();",
    ],
    [
      "large memory is kept for good",
      "if (!this.#ring.closed) this.#native.regionFree(this.#ring.address, buffer.address);",
      "",
    ],
    [
      "memory of a closed ring is freed again",
      "if (!this.#ring.closed) this.#native.regionFree",
      "this.#native.regionFree",
    ],
    ["any number of large buffers is kept", "(free.length + 1) * length <= KEPT_BYTES", "length <= KEPT_BYTES"],
    [
      "a buffer is smaller than was asked for",
      "32 - Math.clz32(Math.max(0, byteLength - 1))",
      "31 - Math.clz32(Math.max(0, byteLength - 1))",
    ],
  ]),
  ...inFile("ring/remote-mounts.ts", { on, tests: ["unit/remote", "fault/fuse-told"] }, [
    [
      "a mount that came later is not seen",
      "if (this.#native.mountsChanged(this.#ring) !== 1) return;",
      "if (this.#devices.size === 0 && this.#lookedAt > LOOK_EVERY_MS * 1e9) return;\n    if (this.#native.mountsChanged(this.#ring) !== 1 || this.#points.length > 0) return;",
    ],
    ["a mount that has gone is still there", "    this.#devices = new Set();\n    this.#points = [];\n", ""],
    [
      "a mount point with a blank is not known",
      "this.#points.push(unescapeOctal(fields[4]!));",
      "this.#points.push(fields[4]!);",
    ],
    [
      "what begins like a mount point is beneath it",
      'full.startsWith(point.endsWith("/") ? point : `${point}/`)',
      "full.startsWith(point)",
    ],
    ["the mount point itself is local", "full === point || full", "full"],
    [
      "only the text of a path is looked at",
      "const isRemote = rc === EAGAIN ? null : rc === 0 && this.#holdsStat(cell);",
      "const isRemote = false;",
    ],
    [
      "what is not cached, in a folder that is not either, is local",
      "if (folder === null || this.#isRemote(folder, STAT_DONT_SYNC) !== false) return Place.remote;",
      "if (folder === null) return Place.remote;",
    ],
    [
      "the device's minor number is not looked at",
      "deviceKey(cell.words[device]!, cell.words[device + 1]!)",
      "deviceKey(cell.words[device]!, 0)",
    ],
    ["ntfs by FUSE is local", "fuse(blk|\\..*)?|nfs4?", "fuse(\\..*)?|nfs4?"],
    ["NFS 4 is local", "nfs4?|cifs", "nfs|cifs"],
    ["a cell is lost with every look", "    this.#cells.release(cell);\n    return isRemote;", "    return isRemote;"],
  ]),
  ...inFile("ring/remote-work.ts", { on, tests: ["unit/remote"] }, [
    [
      "room is made one operation too late",
      "if (++this.#underWay > this.#room && this.#room < MOST)",
      "if (this.#underWay++ > this.#room && this.#room < MOST)",
    ],
    ["room is made without end", "this.#underWay > this.#room && this.#room < MOST", "this.#underWay > this.#room"],
    ["room stays", "if (--this.#underWay === 0) this.#setRoom(0);", "--this.#underWay;"],
  ]),
  ...inFile("ring/placement.ts", { on, tests: ["unit/placement", "unit/uring-whole", "unit/loop"] }, [
    ["a submit copies without bounds", "return this.#bytesLeft >= 0 ? 0 : SqeFlag.ASYNC;", "return 0;"],
    [
      "the budget of a submit is never filled again",
      "      this.#budgetOf = this.#ring.nativeCalls;\n      this.#bytesLeft",
      "      this.#bytesLeft",
      { tests: ["unit/placement"] },
    ],
    ["everybody is alone", "return !this.#cells.hasPathsUnderWay(FEW) && this.#loop.firstOfTurn();", "return true;"],
    [
      "who asks later is served first",
      "waiting.splice(0, next);",
      "waiting.splice(0, next).reverse();\n    waiting.reverse();",
    ],
    ["what waits for its turn is never served", "if (waiting.length > 0) setImmediate(this.#serve);", ""],
    [
      "a helper is started at the first wish",
      "if (++this.#wanted >= WANTED) this.#startHelper();",
      "this.#startHelper();",
    ],
    ["there are as many helpers as processors", "Math.min(MAX_HELPERS, Math.max(1, processors - 1))", "processors"],
  ]),
  ...inFile("ring/context.ts", { on, tests: ["lifetime/closed", "lifetime/endings", "contract/exit", "unit/uring"] }, [
    [
      "a shutdown does not wait for what is under way",
      "(ring.inFlight > 0 || ring.queued > 0 || this.placement.hasLater) &&",
      "false &&",
    ],
    [
      "pools do not hear that their ring is closed",
      "for (const prepare of this.beforeClose) prepare();",
      "",
      { tests: ["unit/loop"] },
    ],
    [
      "the doorbell outlives its ring",
      "    loop.close();\n    ring.close(100);",
      "    ring.close(100);",
      { tests: ["unit/loop"] },
    ],
    [
      "what is staged at the end of the thread is not waited for",
      "if (ring.queued > 0) return Moved.waits;\n    for (const { syscall } of ring.operations.waiting()) if (!LOOKING.has(syscall)) return Moved.waits;",
      "",
      { tests: ["contract/exit"] },
    ],
    [
      "who waits for a descriptor is not told of the ring's end",
      "this.ring.onStopped = (error) => this.direct.stop(error);",
      "",
    ],
  ]),
  ...inFile("ring/loop.ts", { on, tests: ["unit/loop", "unit/doorbell", "fault/enter"] }, [
    [
      "an idle process is kept alive",
      "if (ring.inFlight === 0 && ring.queued === 0 && ring.unsubmitted === 0) {\n      this.#doorbell?.rest();\n      return;\n    }\n    if (this.#polling) return;",
      "if (ring.inFlight === 0 && ring.queued === 0 && ring.unsubmitted === 0) {\n      return;\n    }\n    if (this.#polling) return;",
    ],
    [
      "what the kernel has refused is slept upon",
      "&& ring.queued === 0 && ring.unsubmitted === 0) this.#sleep();",
      ") this.#sleep();",
    ],
    [
      "an error of io_uring_enter that stays is tried for ever",
      "if (ring.refusal !== 0 && !PASSING.has(ring.refusal)) {",
      "if (false) {",
    ],
    [
      "a chain of inline completions starves the timers",
      "if (now - this.#turnStart > this.limits.microtaskMs) this.#rounds = this.limits.microtaskRounds;",
      "",
    ],
    [
      "a chain of fast completions starves the timers",
      "if (this.#rounds < this.limits.microtaskRounds) queueMicrotask(this.#flush);",
      "queueMicrotask(this.#flush); if (this.#rounds < 0) return;",
    ],
  ]),
  ...inFile("ring/lease.ts", { on, tests: ["unit/pool", "lifetime/pool"] }, [
    [
      "memory is idle while others use it",
      "if (--this.inFlight === 0 && this.whenIdle !== null) this.whenIdle();",
      "this.inFlight--;\n    if (this.whenIdle !== null) this.whenIdle();",
      { tests: ["lifetime/late-memory", "unit/pool"] },
    ],
    [
      "only the first memory of a vector is let go",
      "for (const lease of this.leases) lease.release();",
      "this.leases[0]?.release();",
    ],
  ]),
  ...inFile("memory/pool.ts", { tests: ["unit/pool", "lifetime/pool"] }, [
    [
      "memory in use is lent again",
      "if (held.inFlight === 0) this.#takeBack(block, buffer);\n      else held.whenIdle = () => this.#takeBack(block, buffer);",
      "this.#takeBack(block, buffer);",
      { on },
    ],
    [
      "an old lease's views lead to the next one's bytes",
      "const same = buffer.transfer();\n    if (buffer.detached) {",
      "const same = buffer;\n    if (!buffer.detached) {",
    ],
    [
      "the copy of a pinned buffer is lent as the ring's memory",
      "buffer.transfer();\n    if (buffer.detached) {",
      "buffer.transfer();\n    if (same.byteLength >= 0) {",
    ],
    ["memory that was taken away is lent", "if (buffer.detached) return this.#giveUp(block);", "", { on }],
    ["an abort leaves its place in the line", "this.#waiting.splice(this.#waiting.indexOf(waiter), 1);", ""],
    ["a closed pool lends", "    this.#refuseIfClosed();\n    if (this.#free", "    if (this.#free"],
    ["a closed pool leaves those who wait", "      waiter.reject(closedPool());\n", ""],
    [
      "a closed pool frees memory that is out",
      "this.#free.length + this.#taken + this.#handedOn.size < this.count",
      "this.count < 0",
      { survives: "each lease's share keeps its memory mapped all the same, and transfers go by its address then" },
    ],
  ]),
];

export default list;
