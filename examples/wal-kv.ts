// A key-value store that survives SIGKILL and power cuts: each change is a record of an AppendLog, acknowledged once it is on the
// device; now and then the whole is written as a snapshot, atomically, and the log before it is let go.
// Run it: bun examples/wal-kv.ts FOLDER; then PUT, GET and DELETE http://localhost:3000/KEY. Kill it as you like.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { AppendLog, readLog, writeFileAtomic } from "../src/durable.ts";
import { readFile } from "../src/index.ts";

const SNAPSHOT_EVERY = 1000;

export class Store implements AsyncDisposable {
  readonly #values: Map<string, string>;
  readonly #log: AppendLog;
  readonly #snapshotPath: string;
  /** Offset of the log from which on records are not in #values. */
  #applied: number;
  /** Settles when the last change has been applied. */
  #last: Promise<unknown> = Promise.resolve();
  #sinceSnapshot = 0;
  #snapshotting: Promise<void> | null = null;

  static async open(folder: string): Promise<Store> {
    await mkdir(folder, { recursive: true });
    const path = join(folder, "changes.log");
    const snapshotPath = join(folder, "snapshot.json");
    // One ended segment is kept: its last records may be younger than the newest snapshot.
    const log = await AppendLog.open(path, { durability: "full", preallocate: 1024 * 1024, rotate: { keep: 1 } });
    const text = await readFile(snapshotPath, "utf8").catch((error) => {
      if (error.code !== "ENOENT") throw error;
      return '{ "applied": 0, "values": [] }';
    });
    const { applied, values } = JSON.parse(text);
    const store = new Store(log, snapshotPath, applied, new Map(values));
    for await (const { offset, data } of readLog(path, { from: applied })) store.#apply(offset, data.toString());
    return store;
  }

  private constructor(log: AppendLog, snapshotPath: string, applied: number, values: Map<string, string>) {
    this.#log = log;
    this.#snapshotPath = snapshotPath;
    this.#applied = applied;
    this.#values = values;
  }

  get(key: string): string | undefined {
    return this.#values.get(key);
  }

  /** Resolves when the change will be there after any crash; readers see it from then on. */
  set(key: string, value: string | null): Promise<void> {
    const record = JSON.stringify([key, value]);
    const done = this.#log.append(record).then((offset) => this.#apply(offset, record));
    this.#last = done.catch(() => {}); // whoever called has it
    return done;
  }

  #apply(offset: number, record: string): void {
    const [key, value] = JSON.parse(record) as [string, string | null];
    if (value === null) this.#values.delete(key);
    else this.#values.set(key, value);
    this.#applied = offset + 1;
    if (++this.#sinceSnapshot >= SNAPSHOT_EVERY) this.snapshot().catch(console.error);
  }

  /** A crash at any moment of it leaves the old snapshot with the log behind it, or the new one. */
  snapshot(): Promise<void> {
    this.#snapshotting ??= this.#snapshot().finally(() => {
      this.#snapshotting = null;
    });
    return this.#snapshotting;
  }

  async #snapshot(): Promise<void> {
    this.#sinceSnapshot = 0;
    await this.#last; // the segment that the rotation before this one has ended is in the snapshot as a whole
    const state = JSON.stringify({ applied: this.#applied, values: [...this.#values] });
    await writeFileAtomic(this.#snapshotPath, state, { durability: "full" });
    await this.#log.rotate(); // removes that segment; where the snapshot failed it stays
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#snapshotting;
    await this.#log.close();
  }
}

if (import.meta.main) {
  const store = await Store.open(process.argv[2] ?? "wal-kv-data");
  const server = Bun.serve({
    port: Number(process.env["PORT"] ?? 3000),
    routes: {
      "/:key": {
        GET: ({ params: { key } }) => {
          const value = store.get(key);
          return value === undefined ? new Response("not found\n", { status: 404 }) : new Response(value);
        },
        PUT: async (request) => {
          await store.set(request.params.key, await request.text());
          return new Response(null, { status: 204 });
        },
        DELETE: async ({ params: { key } }) => {
          await store.set(key, null);
          return new Response(null, { status: 204 });
        },
      },
    },
  });
  console.log(`${server.url}`);
}
