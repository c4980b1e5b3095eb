// Mutations of room tree: the copy engine, the walk, trees in each other.

import { inFile, type Mutant } from "./mutant.ts";

const COPY = ["contract/copy-file", "contract/copy", "unit/changing-files"];

const list: readonly Mutant[] = [
  ...inFile("tree/copy-file.ts", { tests: COPY }, [
    [
      "a failed copy unlinks a device that was there",
      "opened.removable = within === null ? !exists : fresh;",
      "opened.removable = true;",
    ],
    [
      "a failed copy leaves a part",
      "opened.removable = within === null ? !exists : fresh;",
      "opened.removable = false;",
    ],
    [
      "a failing close of the target is swallowed",
      "await backend.close(target); // a failure",
      "await backend.close(target).catch(() => {}); // a failure",
      { tests: ["fault/told", "fault/fuse-told"] },
    ],
    ["a file copied onto itself is emptied", "if (before.identity === info.identity) {", "if (false) {"],
    [
      "a file copied onto itself is removed by what fails",
      "    opened.removable = false;\n    return within === null ? 0 : info.size;",
      "    return within === null ? 0 : info.size;",
      {
        survives:
          "a target that was there is not removable by then: the line is for one that somebody makes a link of just then",
      },
    ],
    ["the old end of the target stays", "if (before.size > kept) await backend.ftruncate(target, kept);", ""],
    ["a sparse copy keeps what was in the holes", "info.blocks * 512 >= info.size ? info.size : 0", "info.size"],
    ["permissions are not copied", "if (permissions(before) !== mode) await chmodOpen(target.fd, mode);", ""],
    [
      "set-id bits are lost by writing",
      "if (isRegular(before) && (mode & SET_ID) !== 0) await chmodOpen(target.fd, mode);",
      "",
    ],
    ["an aborted copy leaves a part", "    await removeTarget();\n    // If", "    // If"],
    [
      "a small copy whose callback throws stays",
      "    await backend.unlink(to).catch(() => {});\n    throw error;",
      "    throw error;",
    ],
    ["both files stay open after a failure", ".finally(() => closeBoth(backend, opened));", ";"],
    [
      "COPYFILE_EXCL does not refuse a large target",
      "const exclusive = (wish & COPYFILE_EXCL) !== 0 ? O_EXCL : 0;",
      "const exclusive = 0;",
    ],
    [
      "in a tree a link that was swapped in is followed",
      "const flags = O_RDONLY | (within.follow ? 0 : O_NOFOLLOW)",
      "const flags = O_RDONLY | 0",
      { tests: ["contract/copy-tree", "contract/copy"] },
    ],
    [
      "in a tree a link in the target is followed",
      "openWith(O_WRONLY | O_NOFOLLOW | O_NONBLOCK, 0)",
      "openWith(O_WRONLY | O_NONBLOCK, 0)",
      { tests: ["contract/copy-tree", "contract/copy"] },
    ],
    ["a folder is copied as a file", 'if (isDirectory(info)) throw systemError(errnoOf("EISDIR"), "copyfile");', ""],
    ["errors are not copyfile's", '? systemError(errno, "copyfile", from, to) : error', "? error : error"],
  ]),
  ...inFile("tree/copy-contents.ts", { tests: COPY }, [
    [
      "a pool of one copy is not closed",
      "    if (isOwn) (made as BufferPool | null)?.close();\n",
      "",
      { tests: ["fault/told"], on: ["ring"] },
    ],
    [
      "holes become zeros where they can't be asked for",
      "const hole = this.#sparse && !this.#seeks && isZero(buffer, filled);",
      "const hole = false;",
      { on: ["node"] },
    ],
    [
      "data behind zeros is taken for a hole",
      "return buffer[0] === 0 && buffer.compare(buffer, 0, length - 1, 1, length) === 0;",
      "return buffer[0] === 0;",
      { on: ["node"] },
    ],
    [
      "a hole at the end is lost",
      "if (this.#written !== this.#end) await this.#backend.ftruncate(this.#target, this.#end);",
      "",
    ],
    [
      "a source that shrank leaves zeros",
      "if (filled < end - start) this.#end = Math.min(this.#end, start + filled); // it shrank",
      "",
      { tests: ["unit/changing-files"] },
    ],
    [
      "a short read of a copy is not gone on with",
      "if (bytesRead === 0 || (this.#source.direct && filled % DIRECT_UNIT !== 0)) break;",
      "break;",
      { tests: ["fault/told", "unit/changing-files"] },
    ],
    ["a failed chunk is passed over", "if (this.#failure !== null) throw this.#failure.reason;", ""],
    [
      "what the kernel copied is short, and counts",
      "(await Bun.write(Bun.file(this.#target.fd), Bun.file(this.#source.fd))) === this.#size",
      "(await Bun.write(Bun.file(this.#target.fd), Bun.file(this.#source.fd))) >= 0",
      { tests: ["unit/changing-files"] },
    ],
    [
      "an abort is not looked for between chunks",
      "        throwIfAborted(signal);\n        const start",
      "        const start",
    ],
    [
      "bytes of a pipe are written over each other",
      "positioned ? at : OWN_POSITION);",
      "positioned ? 0 : OWN_POSITION);",
    ],
    [
      "the end of a hole is where the data begins",
      "const hole = data < 0 ? this.#size : seek(from, SEEK_HOLE);",
      "const hole = data < 0 ? this.#size : seek(this.#next, SEEK_HOLE);",
      { on: ["ring"] },
    ],
  ]),
  ...inFile("tree/walk.ts", { tests: ["contract/copy-tree", "contract/copy", "contract/rm-cp-mkdtemp"] }, [
    ["a failure is passed over", "if (this.#failure !== null) throw this.#failure.reason;", ""],
    ["a walk goes on after its failure", "if (this.#failure !== null) this.#waiting.length = 0;", ""],
    ["folders stay open", "      await this.#open.end();\n", ""],
    [
      "a folder that can't be written is made so",
      "(permissions(info!) & 0o1777) | 0o700",
      "permissions(info!) & 0o1777",
    ],
    [
      "a link to a folder is entered",
      "if (type === DT_DIR) return this.#push(pair, name, false);",
      "if (type === DT_DIR) return this.#push(pair, name, true);",
    ],
    [
      "a folder's times are lost",
      "if (given !== null)\n        await this.#open.whileOpen",
      "if (given === undefined)\n        await this.#open.whileOpen",
    ],
    ["a tree copied into itself has no end", "      refuseCycle(pair);\n", ""],
    ["the last batch is left out", "if (batch.length > 0) await this.#copy(pair, batch);", ""],
    ["the filter is not asked", "if (!(await filter(from, to))) continue;", "await filter(from, to);"],
    [
      "the rest of a batch that stopped is left out",
      "for (const result of results) await this.#settle(pair, names[at++]!, result);",
      "for (const result of results) await this.#settle(pair, names[at++]!, result);\n          break;",
      { on: ["ring"] },
    ],
    [
      "a place is not given back",
      "if (this.#free++ < 0) this.#waiting.shift()!();",
      "if (this.#free++ < -1) this.#waiting.shift()!();",
    ],
    ["an abort is not heard", "if (signal !== null) onAbort(signal, onStop);", ""],
    [
      "a folder gets its attributes before it is full",
      "if (--pair.pending > 0) return;",
      "if (--pair.pending > 1) return;",
    ],
  ]),
  ...inFile("tree/copy-tree.ts", { tests: ["contract/copy-tree"] }, [
    [
      "a folder that is in the way of a link is tried to be unlinked",
      'if (isDirectory(there)) throw systemError(errnoOf("EISDIR"), "cp", from.shown, to.shown);\n    await clearAway(this.#backend, to)',
      "await clearAway(this.#backend, to)",
    ],
    ["a link's times are lost", 'await told(() => bun.lutimes(to.real, ...timesOf(info)), "lutime", to.shown);', ""],
    [
      "what throws in onProgress ends nothing",
      "    this.#onProgress?.({ ...this.#counts });\n    return this.#counts;",
      "    return this.#counts;",
    ],
    ["set-id bits stay with another owner", "accessed: false, dropSetId: true", "accessed: false, dropSetId: false"],
  ]),
];

export default list;
