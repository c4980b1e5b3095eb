// Mutations of how a process begins and ends: Bun's own functions at first, the choice that follows, work in steps at the exit.

import { inFile, type Mutant } from "./mutant.ts";

const on = ["auto"] as const;

const list: readonly Mutant[] = [
  ...inFile(
    "backend/early.ts",
    { on, tests: ["unit/early", "contract/read-file", "contract/write-file", "contract/errors"] },
    [
      [
        "a process that does much has no ring",
        "operations += weight;\n  if (operations > FIRST_OPERATIONS || isStuck",
        "operations += weight;\n  if (isStuck",
      ],
      [
        "a path with a NUL byte is cut there",
        'path.length >= PLAIN_PATH || path.includes("\\0")) return false',
        "path.length >= PLAIN_PATH) return false",
      ],
      [
        "a pool that is stuck holds up all that follows",
        "&& !isExiting() ? null : true;",
        "&& !isExiting() ? true : true;",
      ],
      [
        "a busy thread takes its pool for stuck",
        "if (alone.count > 0 && alone.at === at) isStuck = true;",
        "isStuck = true;",
      ],
    ],
  ),
  ...inFile("backend/early-tree.ts", { on, tests: ["unit/early", "unit/cp"] }, [
    ["holes are filled", "(mode & S_IFMT) !== S_IFREG || blocks * 512 < size", "(mode & S_IFMT) !== S_IFREG"],
    ["a tree of any size is listed first", "seen.names > MAX_NAMES", "false"],
    ["folders keep what the umask has left", "(await statOf(target)).mode ^ mode) & 0o7777", "0"],
    [
      "a tree goes into itself",
      "above.some(({ dev, ino }) => dev === info.dev && ino === info.ino)",
      "above.some(() => false)",
      { survives: "the real paths say the same, but where a folder is mounted in a second place" },
    ],
    ["a tree goes into itself by a link", "}/`)) return false;", "}//`)) return false;"],
    ["relative links lead elsewhere", 'link[0] === "/" ? text :', "true ? text :"],
    [
      "a working folder that is no ASCII is read as characters",
      "resolve(latin1(process.cwd()), latin1(shown), link)",
      "resolve(latin1(shown), link)",
    ],
    ["a folder is copied without recursive", "!recursive || above", "above"],
  ]),
  ...inFile(
    "backend/early-calls.ts",
    { on, tests: ["unit/early", "contract/read-file", "contract/write-file", "contract/errors", "contract/exit"] },
    [
      [
        "what has failed is under way for ever",
        "      end();\n      return failed(error);",
        "      return failed(error);",
      ],
      ["a mode that Node refuses is Bun's", "(mode as number) >= 0 && (mode as number) <= 0o177777", "true"],
      ["a flag of readFile's is not looked at", ' || (flag ?? "r") !== "r"', ""],
      [
        "a buffer to read into is not looked at",
        " || buffer !== undefined || !isEarly(path)) return null;\n  const reading",
        " || !isEarly(path)) return null;\n  const reading",
      ],
      ["flush is not looked at", " || flush !== false || buffer", " || buffer"],
      [
        "a signal is not looked at",
        "isText && signal === undefined && timeoutMs === undefined",
        "isText && timeoutMs === undefined",
      ],
      ["what was appended is appended again at the exit", 'if (flag !== "w") return;', ""],
      [
        "what is written is left to the pool at the exit",
        'if (flag !== "w") return;',
        "return;",
        { survives: "the exit waits for the pool for a moment, and that is mostly enough" },
      ],
      [
        "folders in folders are left to the pool at the exit",
        "    bunFs.mkdirSync(path, { recursive: true, mode });",
        "",
        { survives: "the exit waits for the pool for a moment, and that is mostly enough" },
      ],
      [
        "an error that is none of a call's is made one",
        'if (typeof errno !== "number") return error;\n  const isUsual',
        "const isUsual",
        { survives: "no plain call of Bun's is known to fail without an errno" },
      ],
      [
        "an error has Bun's name and path",
        "error.syscall === syscall && error.path === path && error.dest === dest",
        "true",
        { survives: "those of Bun 1.4.5 are Node's where the code is a usual one" },
      ],
      ["the second path is not told", "dest === undefined ? null : { dest }", "null"],
      [
        "what rm could not remove is not tried in the long way",
        "return anyhow(removing, long, path, options);",
        "return anyhow(removing, async () => {}, path, options);",
      ],
      ["options of stat are not looked at", " || (throwIfNoEntry ?? true) !== true", ""],
      [
        "an untidy path's first folder is Bun's",
        "if (!isPlain(path) || !isTidy(path) || !isEarly(path)) return null;",
        "if (!isEarly(path)) return null;",
      ],
    ],
  ),
  ...inFile(
    "backend/adaptive.ts",
    { on, tests: ["unit/early", "contract/abort-signal", "contract/shared-position", "contract/handle-write"] },
    [
      [
        "what has a signal goes where it can't be ended",
        "!hasSignal(name, args) && isFirst(weight)",
        "isFirst(weight)",
        { survives: "who called rejects at the abort all the same; only the read goes on" },
      ],
      ["a file opened early does not know that it appends", "file.append = (flags & constants.O_APPEND) !== 0;", ""],
      [
        "one that can't load the library is never told again",
        "if (native === null) return null; // perhaps",
        "if (native === null) return (seeking = null); // perhaps",
      ],
      [
        "a closed file is adopted",
        'if (name === "close") early.delete(args[0]);',
        "",
        {
          survives: "a closed file's fd is -1, and it is looked at before: only memory is kept, until there is a ring",
        },
      ],
    ],
  ),
  ...inFile("kernel/shim.ts", { on, tests: ["unit/early"] }, [
    [
      "the library is not asked for again",
      "if (native === undefined && /too many open files/i.test(failure.message)) return null;",
      "",
    ],
  ]),
  ...inFile("node/steps.ts", { on: ["ring", "node"], tests: ["contract/exit", "unit/gather-steps", "unit/loops"] }, [
    [
      "a failure is passed on as a value",
      "(reason) => {\n        if (this.#wait === wait) this.go(reason, true);",
      "(reason) => {\n        if (this.#wait === wait) this.go(reason, false);",
    ],
    ["at the exit nothing goes on", 'if (status === "pending" && instead === null) return false;', "return false;"],
    [
      "at the exit one step is taken",
      "for (let wentOn = true; wentOn; ) {",
      "for (let wentOn = true, once = 0; wentOn && once++ < 1; ) {",
      { survives: "the end of the thread comes to it again, until nothing moves" },
    ],
    ["what can't be known at the exit is waited for", "instead === null) return false;", "true) return false;"],
    [
      "what is to be passed over is thrown",
      "  } catch {\n    // passed over\n  }",
      "  } finally {\n    // passed over\n  }",
    ],
  ]),
  ...inFile("node/exit-calls.ts", { on: ["node"], tests: ["contract/exit"] }, [
    ["a FIFO is opened at the exit", "return there === undefined || there.isFile();", "return true;"],
    [
      "a pool that works is quiet",
      "if (/[RD]/.test(thread.state)) return PoolState.busy;",
      "",
      { survives: "what it has is done by the blocking calls then, once more" },
    ],
  ]),
  ...inFile(
    "backend/node-pool.ts",
    { on: ["node"], tests: ["contract/exit", "unit/node-backend", "fault/fuse-told"] },
    [
      ["what the pool has is not waited for", "if (elapsedMs <= ASSUMED_MS) return Moved.waits;", "return Moved.idle;"],
      [
        "what was interrupted is an error",
        "} else if (error.errno === EINTR) {\n        run(() => start(done));\n      } else {",
        "} else {",
      ],
      ["an operation that failed keeps its file open", "      ended();\n      failLate(", "      failLate("],
      ["what is asked for at the exit goes to the pool", "isExiting() && atEnd?.here ? atEnd.here() : null", "null"],
      [
        "with O_EXCL a file is opened twice at the exit",
        "isRead || (flags & O_EXCL) !== 0 ? null : openHere",
        "isRead ? null : openHere",
        { survives: "the second open fails, and nobody is left to hear of it" },
      ],
    ],
  ),
  ...inFile(
    "backend/node.ts",
    {
      on: ["node"],
      tests: ["unit/file-handle", "unit/node-backend", "lifetime/buffers", "contract/handle-write", "lifetime/pool"],
    },
    [
      [
        "a vector whose view was taken is read into what is left",
        'if (views.some(isDetached)) return Promise.reject(bufferTaken("read")); // while',
        "// while",
      ],
      [
        "a vector whose view was taken is written without it",
        '    if (views.some(isDetached)) return Promise.reject(bufferTaken("write"));\n',
        "",
      ],
      [
        "a buffer that was taken is read into",
        '    if (byteLengthOf(buffer) < offset + length) return Promise.reject(bufferTaken("read"));\n',
        "",
      ],
      [
        "pool memory is lent again while the pool has it",
        "result.finally(() => held.release())",
        "(held.release(), result)",
      ],
      [
        "close does not wait for operations",
        "    if (file.inFlight > 0) {\n      await",
        "    if (file.inFlight > 1e9) {\n      await",
      ],
      [
        "what close says is swallowed",
        'resolve(error ? lateRejection(() => systemError(error.errno!, "close")) : undefined);',
        "resolve(undefined);",
        { survives: "Bun keeps what close(2) says to itself" },
      ],
      [
        "a bigint position is the file's own",
        "position === -1 || position === -1n ? null",
        'position === -1 || typeof position === "bigint" ? null',
      ],
    ],
  ),
  ...inFile(
    "backend/uring/own-position.ts",
    {
      on: ["ring"],
      tests: [
        "unit/read-ahead",
        "contract/shared-position",
        "contract/handle-read",
        "contract/odd-files",
        "fault/position",
      ],
    },
    [
      [
        "a position that somebody has moved is moved back",
        "if (native.seek(fd, 0, SEEK_CUR) === start + bytes) native",
        "native",
      ],
      [
        "a file of /proc begins anew",
        "if (bytes < 0) return void native.seek(fd, moved, SEEK_CUR);",
        "if (bytes < 0) return;",
      ],
      ["what was claimed and not used is skipped", "if (moved === bytes) return;", "return;"],
      ["a read claims beyond the end", "isRead ? 1 : 0", "0"],
    ],
  ),
];

export default list;
