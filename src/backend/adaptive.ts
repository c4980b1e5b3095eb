// The backend of "auto": io_uring where it pays. A process's first operations are Bun's own (early.ts). Once it has a ring,
// calls that stand alone and change a folder or a small file, which either way wait for another thread, go whichever way has
// been the faster here: hosts differ fivefold in what a system call and a wake-up cost, and so does one host from hour to hour.
// Assumes that both backends may share an open file. Never makes two operations of one, and never an operation anew.

import { constants } from "node:fs";
import { clockMs } from "../node/clock.ts";
import { later } from "../node/loading.ts";
import { byteLengthOf } from "../node/views.ts";
import { presence } from "../ring/presence.ts";
import { alone, endBeginning, isFirst, lookAtPool, watch } from "./early.ts";
import type { Backend, OpenFile, WriteFileOptions } from "./interface.ts";

type Method = (...args: any[]) => any;
type Methods = Record<string, Method>;

/** What may be asked of node:fs until there is a ring. */
const FIRST = [
  "open", "close", "read", "write", "readv", "writev", "fsync", "fdatasync", "ftruncate", "fstat", "stat", "lstat", "mkdir", "rename",
  "unlink", "rmdir", "symlink", "link", "access", "chmod", "readlink", "realpath", "readFile", "writeFile", "removeTree", "list",
  "copyNames", "copySmall", "lookup", "info", "preallocate", "keepXattrs",
] as const; // biome-ignore format: a list of names

/** Of which a ring gains most. */
const TRANSFERS: ReadonlySet<string> = new Set(["read", "write", "readv", "writev"]);
const TRANSFER_WEIGHT = 4;

/** What is raced once there is one, and the longest content (bytes) of a file for which it is. */
const RACED = ["mkdir", "rename", "unlink", "rmdir", "symlink", "link", "writeFile"] as const;
const RACED_BYTES = 64 * 1024;
/** Ring operations in flight beside which a call stands alone. */
const COMPANY = 2;
/** Calls that are measured at the beginning, in turns; then one in so many, and one in so many goes the slower way, to see. */
const [MEASURED_FIRST, MEASURED_EACH, OTHER_WAY_EACH] = [8, 8, 128];
/** What a new time counts in the average; a time so many times the average says that something else was in the way. */
const [WEIGHT, OUTLIER] = [0.2, 4];

/** What one kind of call takes by each way: averages in milliseconds, 0: not known. */
class Race {
  readonly #name: string;
  readonly #ring: Methods;
  readonly #node: Methods;
  #times: [ring: number, node: number] = [0, 0];
  #calls = 0;

  constructor(name: string, ring: Methods, node: Methods) {
    this.#name = name;
    this.#ring = ring;
    this.#node = node;
  }

  run(args: any[]): Promise<unknown> {
    const call = this.#calls++;
    const isFirst = call < MEASURED_FIRST;
    const [ring, node] = this.#times;
    let way: 0 | 1 = isFirst ? ((call & 1) as 0 | 1) : node <= ring ? 1 : 0;
    if (!isFirst && call % OTHER_WAY_EACH === 0) way = way === 0 ? 1 : 0;
    const isMeasured = isFirst || call % MEASURED_EACH === 0;
    const start = isMeasured ? clockMs() : 0;
    const result: Promise<unknown> = (way === 0 ? this.#ring : this.#node)[this.#name]!(...args);
    if (way === 1) watch(result);
    if (isMeasured) {
      const note = (): void => this.#note(way, clockMs() - start);
      result.then(note, ignore); // what fails is faster, and another thing
    }
    return result;
  }

  #note(way: 0 | 1, took: number): void {
    const known = this.#times[way];
    this.#times[way] = known === 0 ? took : known + WEIGHT * (Math.min(took, known * OUTLIER) - known);
  }
}

const ignore = (): void => {};

/**
 * A backend that is `node` at first and becomes the one that `settle` gives: at the latest when somebody asks for its name. Its methods
 * may be taken off it at any time.
 */
export function adaptive(node: Backend, settle: () => Backend): Backend {
  const nodes = node as unknown as Methods;
  /** Files that were opened before it was known what may wait for a server. */
  const early = new Set<OpenFile>();
  let settled: Methods | null = null;

  const become = (): Methods => {
    if (settled !== null) return settled;
    endBeginning();
    const real = settle();
    settled = real as unknown as Methods;
    const isRing = real !== node;
    for (const file of early) if (file.fd >= 0) file.remote = !isRing || real.adopt(file.fd).remote;
    early.clear();
    // Over the getters, too.
    const put = (name: string, value: unknown): void => {
      Object.defineProperty(backend, name, { value, enumerable: true, configurable: true, writable: true });
    };
    for (const name of namesOf(real)) if (name !== "seek" || isRing) put(name, bound(settled, name));
    if (isRing) for (const name of RACED) put(name, raced(name, settled, nodes));
    return settled;
  };

  const first = (name: string): Method => {
    const weight = TRANSFERS.has(name) ? TRANSFER_WEIGHT : 1;
    const asked = (...args: any[]): any => {
      const answer = settled === null && !hasSignal(name, args) && isFirst(weight);
      if (answer === null) return lookAtPool().then(() => asked(...args));
      if (!answer) return become()[name]!(...args);
      const method = nodes[name === "readFile" ? "readFileAtOnce" : name]!;
      const result = method.apply(node, name === "open" ? noted(args) : args);
      if (name === "close") early.delete(args[0]);
      if (result instanceof Promise) watch(result);
      return result;
    };
    return asked;
  };

  /** Sees an opened file before its caller does. */
  const noted = ([path, flags, mode, wrap]: any[]): any[] => [
    path,
    flags,
    mode,
    (file: OpenFile) => {
      file.append = (flags & constants.O_APPEND) !== 0;
      file.nonBlocking = (flags & constants.O_NONBLOCK) !== 0;
      if (settled === null) early.add(file);
      else file.remote = settled === nodes || settled["adopt"]!(file.fd).remote;
      return wrap === undefined ? file : wrap(file);
    },
  ];

  const backend = {
    get name(): Backend["name"] {
      become();
      return backend.name;
    },
    get seek(): Backend["seek"] {
      return settled === null ? plainSeek() : ((settled as unknown as Backend).seek ?? seeking ?? null);
    },
    get seekIsDear(): boolean {
      return settled === null && seeking === undefined;
    },
    adopt(fd: number): OpenFile {
      if (settled !== null || isFirst() === false) return become()["adopt"]!(fd);
      const file = node.adopt(fd);
      early.add(file);
      return file;
    },
  } as unknown as Backend;
  for (const name of namesOf(node)) {
    if (name === "name" || name === "seek" || name === "adopt") continue;
    if (typeof nodes[name] !== "function" || name === "copy") {
      // What node:fs has not, and says so; and what is the same for both.
      Object.defineProperty(backend, name, { value: nodes[name], configurable: true });
      continue;
    }
    (backend as unknown as Methods)[name] = (FIRST as readonly string[]).includes(name)
      ? first(name)
      : (...args: any[]) => become()[name]!(...args);
  }
  return backend;
}

const shim = later(() => require("../kernel/shim.ts") as typeof import("../kernel/shim.ts"));
let seeking: Backend["seek"] | undefined;

/** lseek(2), which waits for nothing and needs no ring; null where no native library can be had. */
function plainSeek(): Backend["seek"] {
  if (seeking !== undefined) return seeking;
  const native = shim().nativeOrNull();
  if (native === null) return null; // perhaps there was no descriptor for it: it is asked for again
  seeking = ({ fd }, offset, whence) => native.seek(fd, offset, whence);
  return seeking;
}

/** All methods of a backend, also where they stand on a prototype. */
function namesOf(backend: Backend): Set<string> {
  const names = new Set<string>();
  for (let at: object | null = backend; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at))
    for (const name of Object.getOwnPropertyNames(at)) if (name !== "constructor") names.add(name);
  return names;
}

/** A method that needs no `this`; what is none as it is. */
function bound(backend: Methods, name: string): unknown {
  const value = backend[name] as unknown;
  return typeof value === "function" && !Object.hasOwn(backend, name) ? value.bind(backend) : value;
}

/** What can be ended early can be so only in a ring. */
function hasSignal(name: string, args: any[]): boolean {
  if (name === "readFile") return Boolean((args[2] as WriteFileOptions).signal);
  return name === "writeFile" && Boolean((args[4] as WriteFileOptions).signal);
}

/** A kind of call by the faster way, where it stands alone; by the ring in company. */
function raced(name: string, ring: Methods, node: Methods): Method {
  const own: Methods = { [name]: (...args: any[]) => node[name]!.apply(node, args) };
  const race = new Race(name, ring, own);
  // Appending finds its file there, writing mostly does not.
  const appending = name === "writeFile" ? new Race(name, ring, own) : race;
  const direct = ring[name]!;
  return (...args: any[]) => {
    const inFlight = presence.ring?.inFlight ?? 0;
    if (alone.count > 0 || inFlight > COMPANY || presence.cancelling > 0 || !isShort(name, args))
      return direct(...args);
    return (isAppending(name, args) ? appending : race).run(args);
  };
}

const isAppending = (name: string, args: any[]): boolean =>
  name === "writeFile" && (args[2] & constants.O_APPEND) !== 0;

function isShort(name: string, args: any[]): boolean {
  if (name !== "writeFile") return true;
  const { signal, flush } = args[4] as WriteFileOptions;
  return !signal && !flush && byteLengthOf(args[1] as ArrayBufferView) <= RACED_BYTES;
}
