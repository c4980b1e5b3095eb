// Mutations of streams, the durable log, atomic files, and the server.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are other files' text

import { inFile, type Mutant } from "./mutant.ts";

const list: readonly Mutant[] = [
  ...inFile("streams/read-ahead.ts", { tests: ["unit/read-ahead", "contract/streams", "unit/stream"] }, [
    [
      "what was read ahead is lost to the own position",
      "      await this.#stepBack(this.#next, first.start + first.taken);\n",
      "",
    ],
    [
      "a position that somebody has moved is set back",
      "|| backend.seek(file, 0, SEEK_CUR) !== claimed) return;",
      ") return;",
    ],
    ["the end is told before the kernel is done", "if (this.#reading > 0 || this.#preparing > 0) await settled;", ""],
    [
      "blocks behind a gap are handed out",
      "const later = this.#blocks.splice(filled === 0 ? index : index + 1);",
      "const later: Block[] = [];",
    ],
    [
      "bytes given up are not asked for again",
      "for (const { length, taken } of this.#blocks) this.#left += length - taken;",
      "",
    ],
    ["a failure is the end", "if (block.error !== null) this.#failure = block.error;\n    else if", "if"],
    [
      "a file that grows is cut where it was",
      "else if (filled === 0 && block.isAhead) this.#parallelEnd = Math.min(this.#parallelEnd, start);",
      "else if (filled === 0 && block.isAhead) this.#ended = true;",
      { tests: ["unit/read-ahead", "unit/changing-files"] },
    ],
    [
      "a stalled reader holds what was read ahead",
      "if (!this.#own) return this.#giveUp(start + taken);",
      "if (!this.#own) return;",
    ],
    [
      "a small chunk keeps a block alive",
      "if (this.#chunkBytes < SMALL_CHUNK_BYTES) return Buffer.copyBytesFrom(block.memory[0]!, from, length);",
      "if (this.#chunkBytes < SMALL_CHUNK_BYTES) return block.memory[0]!.subarray(from, from + length);",
    ],
  ]),
  ...inFile("streams/writing.ts", { tests: ["contract/streams", "unit/stream", "contract/exit"] }, [
    ["bytes of a short write are written again", "rest = behind(rest, bytesWritten);", ""],
    ["the rest of a short write goes to the beginning", "if (at !== null) at += bytesWritten;", ""],
    ["flush is not heard at the end", "if (!this.#stream.flush) return done();", "return done();"],
    [
      "a failed sync at the end is swallowed",
      "      () => nextTick(done),\n      (error) => nextTick(done, error),",
      "      () => nextTick(done),\n      () => nextTick(done),",
    ],
    [
      "a failed close is swallowed",
      "      .catch(note)\n      .then(() => nextTick(callback, failure));",
      "      .catch(() => {})\n      .then(() => nextTick(callback, failure));",
    ],
    ["the close does not wait for the write", "Promise.resolve(this.#writing)\n", "Promise.resolve()\n"],
    ["the file stays held", "    this.#release?.();\n", ""],
    [
      "a write that never takes anything is tried for ever",
      "if (empty > EMPTY_WRITES) throw",
      "if (empty > Infinity) throw",
    ],
    [
      "what the stream still holds at the exit is lost",
      "inSteps(this.#writeBehind(this.#written!, Buffer.concat(chunks))).catch(() => {});",
      "",
    ],
  ]),
  ...inFile("durable/append-log.ts", { tests: ["durable/append-log", "durable/faults"] }, [
    [
      "flushSync makes no room",
      "    this.#count(group);\n    this.#scheduleNext();\n",
      "    this.#count(group);\n",
      { survives: "where there is something to flush a group is scheduled or under way, and looks for room by itself" },
    ],
    ["flushSync leaves a hole", "      if (this.#flying !== null) this.#file.putAgain(this.#flying.chunks);\n", ""],
  ]),
  ...inFile("durable/append-log.ts", { tests: ["durable/append-log", "durable/trouble"] }, [
    [
      "a failed sync is not final",
      'let isFinal = error.syscall !== "write" || this.#ahead.length > 0 || this.#failure !== null;',
      "let isFinal = false;",
    ],
    ["what a failed write left is not cut", "        await this.#file.cut(bytesWritten);\n", ""],
    ["numbers of a lost group are used up", "        this.#gathering.renumber(group.first, this.#file.salt);\n", ""],
    [
      "a record's offset does not count what is under way",
      "let bytes = this.#gathering.used + (this.#flying?.used ?? 0);",
      "let bytes = this.#gathering.used;",
    ],
    ["close does not write what waits", "    await this.#flush().catch(keep);\n", ""],
    ['"drain" never comes', 'this.emit("drain");', ""],
    [
      "an acknowledged group is not synced",
      "await this.#file.put(group.chunks, group.used, progress);",
      "void this.#file.put(group.chunks, group.used, progress);",
    ],
  ]),
  ...inFile("durable/scan.ts", { tests: ["durable/append-log", "durable/trouble"] }, [
    [
      "a torn tail is read",
      'frame === null || frame === "short" || frame.sequence !== scan.sequence',
      'frame === null || frame === "short"',
    ],
    [
      "damage to what was acknowledged is cut off",
      "frame.sequence - frame.index > scan.sequence",
      "frame.sequence - frame.index > Infinity",
    ],
    ["a torn group is damage", "frame.sequence - frame.index > scan.sequence", "frame.sequence > scan.sequence"],
  ]),
  ...inFile("durable/recover.ts", { tests: ["durable/append-log", "durable/trouble"] }, [
    ["somebody else's file is overwritten", "if (torn > SEGMENT_HEADER_BYTES)\n", "if (torn > Infinity)\n"],
    [
      "what was cut is not on the device",
      'if (stats.size > 0 && options.durability !== "none") await backend.fsync(file);',
      "",
      { tests: ["durable/append-log", "durable/trouble", "fault/told"] },
    ],
    ["a log has two writers", "    await acquireLock(backend, file, options.path);\n", ""],
    [
      "a torn line stays",
      'const end = options.framing === "lines" ? await endOfLines(backend, file, size) : size;',
      "const end = size;",
    ],
  ]),
  ...inFile("durable/exchange.ts", { tests: ["durable/faults", "durable/moments"] }, [
    ["lines wait for the end of a rotation", "  old.closeOff();\n  let next", "  old.isClosedOff = true;\n  let next"],
  ]),
  ...inFile("durable/directory-sync.ts", { tests: ["durable/faults", "durable/atomic"] }, [
    [
      "a folder without a sync is an error",
      "if (!NO_SYNC.has((error as { code: string }).code)) throw error;\n  }\n}",
      "throw error;\n  }\n}",
    ],
  ]),
  ...inFile("durable/zero-fill.ts", { tests: ["durable/faults"] }, [
    ["the first zeros leave no room", "end + Math.min(step, FIRST_ROOM_BYTES)", "end"],
  ]),
  ...inFile("durable/segments.ts", { tests: ["durable/faults"] }, [
    ["a rename that was done counts as failed", "if ((await whatIsAt(this.#backend, next)) !== null) {", "{"],
    [
      "a link that was made stays, and another is made",
      "if (found !== null && isSame(found, await whatIsAt(this.#backend, path))) break;",
      "",
    ],
  ]),
  ...inFile("durable/segments.ts", { tests: ["durable/append-log", "durable/trouble"] }, [
    [
      "a segment that was not handed on is removed",
      "if (onSegment !== undefined && oldest.number > this.#shipped) return;",
      "",
    ],
    [
      "what was handed on is handed on again",
      "    await writeFileAtomic(`${path}.shipped`, String(segment.number));\n",
      "",
    ],
    ["a segment that was not taken is passed over", "await this.#sleep(pause);", "at++;"],
    [
      "both forms of a segment count",
      "return found\n    .filter(({ compressed, number }) => !compressed || !plain.has(number))\n",
      "return found\n",
    ],
  ]),
  ...inFile("durable/atomic.ts", { tests: ["durable/atomic", "durable/trouble"] }, [
    ["a temporary name stays after a failure", "if (isThere) await backend.unlink(temporary).catch(() => {});", ""],
    [
      "the data is not on the device before the name",
      '      if (durability !== "none") await handle.sync();\n',
      "",
      { tests: ["durable/atomic", "fault/told"] },
    ],
    [
      "the name is not on the device",
      'if (durability === "full") await syncFolderOf(target);',
      "",
      { tests: ["durable/atomic", "fault/told"] },
    ],
    ["permissions are not kept", "else if (old !== null) await handle.chmod(modeLike(old, isOldOwners, found));", ""],
    ["set-id bits go to another owner", "mode & (isOldOwners ? ALL_MODE_BITS : PERMISSIONS);", "mode & ALL_MODE_BITS;"],
    [
      "an abort after the content is not heard",
      "      throwIfAborted(signal);\n      if (overwrite) {",
      "      if (overwrite) {",
    ],
    [
      "access control lists are not kept",
      "const found = old === null ? 0 : await backend.keepXattrs(target, file, false);",
      "const found = 0;",
    ],
    ["what may not be replaced has a temporary name", "overwrite || isAtOnce ? null", "true ? null", { on: ["ring"] }],
  ]),
  ...inFile("server/conditional.ts", { tests: ["server/serve-file"] }, [
    ["a range's last byte is left out", "Math.min(Number(last) + 1, size)", "Math.min(Number(last), size)"],
    ["a weak tag matches If-Match", "(weak || isWeak === undefined)", "true"],
    ["If-Range takes an older version", "secondsOf(text) === modified", "secondsOf(text) !== null"],
    [
      "If-Modified-Since counts beside If-None-Match",
      "const modifiedSince = ifNoneMatch === null ? secondsOf",
      "const modifiedSince = true ? secondsOf",
    ],
    ["a range behind the end is the whole file", "if (start >= size) return UNSATISFIABLE;", ""],
    ["a suffix longer than the file begins before it", "Math.min(Number(suffix), size)", "Number(suffix)"],
    ["q=0 is accepted", ".filter(([, weight]) => weight > 0);", ";"],
  ]),
  ...inFile("backend/loops.ts", { tests: ["server/root"] }, [
    ["the parent stays open", "  } finally {\n    await backend.close(file);\n  }", "  } finally {\n  }"],
    [
      "a log that could not be opened stays locked",
      "    await backend.close(file).catch(() => {});\n    throw error;",
      "    throw error;",
      { tests: ["durable/append-log", "durable/trouble"] },
    ],
    [
      "a short write of a copy is not gone on with",
      "    at += bytesWritten;\n    progress",
      "    at = byteLength;\n    progress",
      { tests: ["unit/loops", "fault/told"] },
    ],
  ]),
  ...inFile("server/root.ts", { tests: ["server/root"] }, [
    ["options are read again", "const own = { ...options };", "const own = options;", { tests: ["contract/options"] }],
    ["magic links lead out", "RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS |", "RESOLVE_NO_MAGICLINKS |"],
    ['"never" follows links', '(symlinks === "never" ? RESOLVE_NO_SYMLINKS : 0)', "0"],
    [
      "what leads out is EXDEV",
      'if (code === "EXDEV") throw new OutsideRootError(name, "leads out of the root", error);',
      "",
    ],
    ["a closed root works on", "if (this.#folder.fd < 0) throw rootClosed();\n    // openat2", "// openat2"],
    [
      "what closing a written file says is swallowed",
      "await thenClose(handle, handle.writeFile(data, rest));",
      "await handle.writeFile(data, rest);\n    await handle.close().catch(() => {});",
      { tests: ["server/root", "fault/fuse-told"] },
    ],
  ]),
  ...inFile("server/names.ts", { tests: ["server/root", "server/serve-file"] }, [
    ["an absolute name is taken", 'if (name.startsWith("/")) throw', 'if (name.startsWith("//")) throw'],
    [
      "absolute bytes are taken",
      "if (bytes[0] === 0x2f) throw",
      "if (bytes[0] === 0) throw",
      { survives: "the kernel refuses them as well (RESOLVE_BENEATH), with the same error" },
    ],
    ["a name may end in ..", 'if (base === "..") throw', 'if (base === "...") throw'],
  ]),
  ...inFile("server/serve-file.ts", { tests: ["server/serve-file"] }, [
    [
      "hidden files are served",
      "if (name === OTHER_PREFIX || (!checked.dotfiles && isHidden(name))) return notFound(state);",
      "if (name === OTHER_PREFIX) return notFound(state);",
    ],
    ["an encoded slash is one", "if (/%2f|%00/i.test(path)) return null;", ""],
    [
      "a FIFO is served",
      'if (found.kind === "file") return send(state, found, name, "");',
      'if (found.kind !== "folder") return send(state, found, name, "");',
    ],
    ["HEAD has a body's length of 0", "withLength(part.headers, part.end - part.start)", "withLength(part.headers, 0)"],
  ]),
  ...inFile("server/receive-body.ts", { tests: ["server/uploads"] }, [
    ["a body longer than allowed is taken", "  if (bytes > most) throw tooLong(maxBytes);\n", ""],
    [
      "a body that broke off is whole",
      "if (announced !== null && bytes !== announced)",
      "if (announced !== null && bytes > announced)",
    ],
  ]),
  ...inFile("durable/room.ts", { tests: ["durable/append-log", "durable/trouble"] }, [
    [
      "who waits for room is not told of the failure",
      "for (const { reject } of this.#waiting.splice(0)) reject(error);",
      "",
    ],
    [
      "a record that waits is the caller's",
      'const copy = typeof record === "string" ? record : Buffer.from(record);',
      "const copy = record;",
    ],
  ]),
  ...inFile("durable/temporary.ts", { tests: ["durable/atomic", "durable/trouble"] }, [
    [
      "a file in the making is swept",
      "|| Math.abs(epochMs() - Number.parseInt(made, 36)) < STALE_MS) continue;",
      ") continue;",
    ],
  ]),
  ...inFile("server/chunk-writer.ts", { tests: ["server/uploads", "server/file-write"] }, [
    [
      "a failed write of a chunk is passed over",
      "    await this.settle();\n    if (this.#failure !== null) throw this.#failure.error;",
      "    await this.settle();",
      { tests: ["unit/chunks"] },
    ],
    ["the last chunk is lost", "    if (this.#failure === null) this.#send();\n    await", "    await"],
    [
      "what lies behind a gap is written",
      "if (this.#failure !== null) return; // nothing",
      "// nothing",
      { tests: ["unit/chunks"] },
    ],
  ]),
  ...inFile("server/rooms.ts", { tests: ["server/chunk-writer"] }, [
    ["writers hold as much as they like", "areScarce() ? SCARCE_BYTES : ROOM_BYTES", "ROOM_BYTES"],
    ["whoever has no turn waits for ever", "setTimeout(begin, TURN_MS)", "setTimeout(begin, 1e9)"],
  ]),
  ...inFile("server/own-chunks.ts", { tests: ["server/own-chunks"] }, [
    ["memory is kept until it is collected", "buffer.transfer(0);", "buffer.byteLength;"],
    ["a shared body is taken for Bun's own", "return isOwn || body.locked ?", "return isOwn || !body.locked ?"],
  ]),
  ...inFile("server/form.ts", { tests: ["server/uploads"] }, [
    [
      "a form that breaks off has no end",
      'if (chunk === null) throw malformed("it ends before its last boundary");',
      'if (chunk === null) return Buffer.from("--");',
    ],
    [
      "folders of a client's name are kept",
      'Math.max(filename.lastIndexOf("/"), filename.lastIndexOf("\\\\")) + 1',
      "0",
    ],
    ["a part has no limit", "if (bytes > limit) throw tooMuch(`bytes in a ${kind}`, limit);", ""],
  ]),
  ...inFile("server/write.ts", { tests: ["server/file-write"] }, [
    [
      "a source is not let go where there is no place for it",
      "    await chunks.return(undefined);\n    throw error;",
      "    throw error;",
    ],
    ["a file is emptied that is its own source", "(!append && (await isSourceOf(target, data)))", "false"],
    ["folders are made that are not wanted", "!createPath || error.code", "error.code"],
  ]),
];

export default list;
