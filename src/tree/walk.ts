// The one walk of trees that are copied, for cp and copyTree: folders a few at a time, names in batches, the first failure,
// attributes of a folder when it is full. What the two do differently with what is found or in the way is their plan.
// Never follows a link that the plan does not follow, never looks up a name but in a folder that is open.

import {
  type Backend,
  type CopiedName,
  NOT_REGULAR,
  type OpenFile,
  type Path,
  SAME_FILE,
} from "../backend/interface.ts";
import { pause, SLICE_MS } from "../backend/loops.ts";
import { clockMs } from "../node/clock.ts";
import { abortError, errnoOf, retold, systemError } from "../node/errors.ts";
import { copiedPermissions, isDirectory, isRegular, permissions } from "../node/file-info.ts";
import { offAbort, onAbort } from "../node/signal.ts";
import { type CopyRequest, copyOpened, NOT_A_FILE } from "./copy-file.ts";
import { beneath, type Name, OpenFolders, TreeFolder } from "./open-folders.ts";
import { type FolderPair, type Place, type Plan, pairOf, refuseCycle, told } from "./plan.ts";

const DT_DIR = 4;
const DT_REG = 8;
/** Folders being listed at once, names of a batch, batches at once. */
const FOLDERS = 4;
const NAMES = 32;
const BATCHES = 4;

type Failure = NodeJS.ErrnoException;

/** A number of places; who finds none waits. */
class Places {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  acquire(): Promise<void> | null {
    if (this.#free-- > 0) return null;
    return new Promise((go) => this.#waiting.push(go));
  }

  release(): void {
    if (this.#free++ < 0) this.#waiting.shift()!();
  }
}

export class Walk {
  readonly #backend: Backend;
  readonly #plan: Plan;
  readonly #open: OpenFolders;
  readonly #places: Places;
  readonly #waiting: FolderPair[] = [];
  #listing = 0;
  /** Entries and attributes under way. */
  #busy = 0;
  #failure: { reason: unknown } | null = null;
  #finished: () => void = () => {};
  #sliceStart = clockMs();

  constructor(backend: Backend, plan: Plan) {
    this.#backend = backend;
    this.#plan = plan;
    this.#open = new OpenFolders(backend);
    const batches = backend.copyNames === null || plan.alone ? plan.concurrency : Math.min(BATCHES, plan.concurrency);
    this.#places = new Places(batches);
  }

  /** Copies a folder. Rejects with the first failure, when all has ended. */
  async folder(from: Path, to: Path): Promise<void> {
    const { signal } = this.#plan;
    const onStop = (): void => this.#fail(abortError(signal!));
    if (signal !== null) onAbort(signal, onStop);
    try {
      const finished = new Promise<void>((done) => {
        this.#finished = done;
      });
      const { follow } = this.#plan.how;
      this.#waiting.push(pairOf(null, new TreeFolder(null, from, from, follow), new TreeFolder(null, to, to, true)));
      this.#pump();
      await finished;
    } finally {
      if (signal !== null) offAbort(signal, onStop);
      await this.#open.end();
    }
    if (this.#failure !== null) throw this.#failure.reason;
  }

  #fail(reason: unknown): void {
    this.#failure ??= { reason };
    this.#pump();
  }

  /** Starts what may start; notices the end. */
  #pump(): void {
    if (this.#failure !== null) this.#waiting.length = 0;
    while (this.#listing < FOLDERS && this.#waiting.length > 0) {
      this.#listing++;
      const pair = this.#waiting.pop()!;
      this.#after(this.#enter(pair), () => {
        this.#listing--;
        this.#oneLess(pair);
      });
    }
    if (this.#listing === 0 && this.#busy === 0 && this.#waiting.length === 0) this.#finished();
  }

  /** Goes on when the work has ended; its failure is the walk's. */
  #after(work: Promise<void>, then: () => void): void {
    void work
      .catch((error: unknown) => this.#fail(error))
      .then(() => {
        then();
        this.#pump();
      });
  }

  /** Runs `work` as something under way in a folder, as soon as there is a place for it. */
  async #begin(pair: FolderPair, work: () => Promise<void>): Promise<void> {
    const wait = this.#places.acquire();
    if (wait !== null) await wait;
    this.#busy++;
    pair.pending++;
    this.#after(
      work().finally(() => this.#places.release()),
      () => {
        this.#busy--;
        this.#oneLess(pair);
      },
    );
  }

  /** Something in the folder, or its listing, is done. After the last, it gets its attributes. */
  #oneLess(pair: FolderPair): void {
    if (--pair.pending > 0) return;
    this.#busy++;
    this.#after(this.#finish(pair), () => {
      this.#busy--;
      if (pair.parent !== null) this.#oneLess(pair.parent);
    });
  }

  async #finish(pair: FolderPair): Promise<void> {
    const { info, target, from, to } = pair;
    this.#open.forget(from);
    if (this.#failure === null && info !== null && target !== null) {
      const given = this.#plan.attributes(pair, copiedPermissions(info, target, this.#plan.how.dropSetId));
      if (given !== null)
        await this.#open.whileOpen(to, (file) =>
          told(() => this.#backend.setAttributes(file, given.info, given.mode), "utime", to.shown),
        );
      this.#plan.folderDone();
    }
    this.#open.forget(to);
  }

  #enter(pair: FolderPair): Promise<void> {
    return this.#open.whileOpen(pair.from, async (source) => {
      pair.info = await this.#backend.info(source);
      refuseCycle(pair);
      const target = await this.#makeTarget(pair);
      try {
        pair.target = await this.#backend.info(target);
        await this.#list(pair, source);
      } finally {
        this.#open.release(pair.to);
      }
    });
  }

  /** Makes the target folder, writable for us until it is full, or finds it. */
  async #makeTarget(pair: FolderPair): Promise<OpenFile> {
    const { parent, from, to, info } = pair;
    if (parent !== null) await this.#open.use(parent.to);
    try {
      const real = parent === null ? to.name : beneath(parent.to, to.name);
      try {
        await this.#backend.mkdir(real, (permissions(info!) & 0o1777) | 0o700);
        pair.fresh = true;
      } catch (error) {
        if ((error as Failure).code !== "EEXIST") throw retold(error, "mkdir", to.shown);
        const place = { real: parent === null ? from.name : `/proc/self/fd/${from.file!.fd}`, shown: from.shown };
        const { follow } = await this.#plan.merge(place, { real, shown: to.shown });
        pair.to = new TreeFolder(parent?.to ?? null, to.name, to.shown, follow);
      }
      return await this.#open.use(pair.to);
    } finally {
      if (parent !== null) this.#open.release(parent.to);
    }
  }

  async #list(pair: FolderPair, source: OpenFile): Promise<void> {
    const names: Name[] = [];
    const types: number[] = [];
    const listing = this.#backend.list(source, false, "exact", (_, found, kinds) => {
      for (let i = 0; i < found.length; i++) {
        names.push(found[i]!);
        types.push(kinds[i]!);
      }
    });
    await told(() => listing, "scandir", pair.from.shown);
    let batch: Name[] = [];
    const { filter, alone } = this.#plan;
    const atOnce = this.#backend.copyNames === null || alone ? 1 : NAMES;
    for (let i = 0; i < names.length; i++) {
      if (clockMs() - this.#sliceStart > SLICE_MS) {
        await pause();
        this.#sliceStart = clockMs();
      }
      if (this.#failure !== null) return;
      const name = names[i]!;
      if (filter !== null) {
        const [from, to] = [this.#plan.join(pair.from.shown, name), this.#plan.join(pair.to.shown, name)];
        if (!(await filter(from, to))) continue;
      }
      if (types[i] === DT_REG) batch.push(name);
      else await this.#other(pair, name, types[i]!);
      if (batch.length < atOnce) continue;
      await this.#copy(pair, batch);
      batch = [];
    }
    if (batch.length > 0) await this.#copy(pair, batch);
  }

  /** Begins to copy what is no regular file. */
  async #other(pair: FolderPair, name: Name, type: number): Promise<void> {
    if (type === DT_DIR) return this.#push(pair, name, false);
    await this.#begin(pair, () => this.#withPlaces(pair, name, (from, to) => this.#lookAndCopy(pair, name, from, to)));
  }

  #push(parent: FolderPair, name: Name, follow: boolean): void {
    const { join } = this.#plan;
    const from = new TreeFolder(parent.from, name, join(parent.from.shown, name), follow);
    const to = new TreeFolder(parent.to, name, join(parent.to.shown, name), false);
    parent.pending++;
    this.#waiting.push(pairOf(parent, from, to));
    this.#pump();
  }

  /** Runs `work` with the places of a name, while both folders are in use. */
  async #withPlaces(pair: FolderPair, name: Name, work: (from: Place, to: Place) => Promise<void>): Promise<void> {
    if (this.#failure !== null) return;
    const { join } = this.#plan;
    const placeIn = (folder: TreeFolder): Place => ({
      real: beneath(folder, name),
      shown: join(folder.shown, name),
    });
    await this.#withBoth(pair, () => work(placeIn(pair.from), placeIn(pair.to)));
  }

  #withBoth(pair: FolderPair, work: (from: OpenFile, to: OpenFile) => Promise<void>): Promise<void> {
    return this.#open.whileOpen(pair.from, (from) => this.#open.whileOpen(pair.to, (to) => work(from, to)));
  }

  /** By what the name is now. */
  async #lookAndCopy(pair: FolderPair, name: Name, from: Place, to: Place): Promise<void> {
    const { follow } = this.#plan.how;
    const info = await this.#backend.lookup(from.real, !follow);
    if (typeof info === "number") throw systemError(info, follow ? "stat" : "lstat", from.shown);
    if (isDirectory(info)) return this.#push(pair, name, follow);
    if (isRegular(info)) return this.#copyOne(pair, name, from, to);
    await this.#plan.special(from, to, info, pair.fresh);
  }

  /** Begins to copy regular files. */
  async #copy(pair: FolderPair, names: readonly Name[]): Promise<void> {
    await this.#begin(pair, () =>
      this.#backend.copyNames === null || this.#plan.alone
        ? this.#withPlaces(pair, names[0]!, (from, to) => this.#copyOne(pair, names[0]!, from, to))
        : this.#copyBatch(pair, names),
    );
  }

  #copyBatch(pair: FolderPair, names: readonly Name[]): Promise<void> {
    const { how, signal } = this.#plan;
    return this.#withBoth(pair, async (source, target) => {
      for (let at = 0; at < names.length && this.#failure === null; ) {
        const results = await this.#backend.copyNames!(source, target, names.slice(at), how, signal);
        for (const result of results) await this.#settle(pair, names[at++]!, result);
      }
    });
  }

  async #settle(pair: FolderPair, name: Name, { status, size }: CopiedName): Promise<void> {
    if (status === 0) return this.#plan.copied(size);
    if (status === SAME_FILE) return this.#same(pair, name, size);
    if (status === NOT_REGULAR)
      return this.#withPlaces(pair, name, (from, to) => this.#notRegular(pair, name, from, to));
    if (status === -errnoOf("EEXIST") && !this.#plan.how.overwrite)
      return this.#withPlaces(pair, name, async (from, to) => {
        if (await this.#plan.clear(from, to)) await this.#copyOne(pair, name, from, to);
      });
    const { join } = this.#plan;
    throw systemError(status, "copyfile", join(pair.from.shown, name), join(pair.to.shown, name));
  }

  async #same(pair: FolderPair, name: Name, size: number): Promise<void> {
    if (this.#plan.how.overwrite) return this.#plan.copied(size);
    await this.#withPlaces(pair, name, async (from, to) => void (await this.#plan.clear(from, to)));
  }

  /** What was a file when it was listed is something else: it is copied as that, or a file again, and refused. */
  async #notRegular(pair: FolderPair, name: Name, from: Place, to: Place): Promise<void> {
    const info = await this.#backend.lookup(from.real, !this.#plan.how.follow);
    if (typeof info === "number") throw systemError(info, "lstat", from.shown);
    if (isDirectory(info)) return this.#push(pair, name, false);
    if (isRegular(info)) throw systemError(errnoOf("ELOOP"), "copyfile", from.shown, to.shown);
    await this.#plan.special(from, to, info, pair.fresh);
  }

  /** One file by itself, with all that the request asks for. */
  async #copyOne(pair: FolderPair, name: Name, from: Place, to: Place): Promise<void> {
    const { how, signal, request } = this.#plan;
    const wish: CopyRequest = { ...request, signal, within: { ...how, regularOnly: true } };
    const copy = (): Promise<number> =>
      told(() => copyOpened(this.#backend, from.real, to.real, wish, false), "copyfile", from.shown, to.shown);
    let bytes: number;
    try {
      bytes = await copy();
    } catch (error) {
      if ((error as Failure).code !== "EEXIST" || how.overwrite) throw error;
      if (!(await this.#plan.clear(from, to))) return;
      bytes = await copy();
    }
    if (bytes === NOT_A_FILE) return this.#notRegular(pair, name, from, to);
    this.#plan.copied(bytes);
  }
}
