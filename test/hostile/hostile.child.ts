// Owns the hostile program: seeded rounds of moves (moves.ts) on several file systems at once, with what a caller can do to all
// of them meanwhile: shut the ring down, end Workers over their work, collect garbage.
// Assumes a process of its own: a fault may crash it. Never ends a round before every call has settled.

import { mkdirSync } from "node:fs";
import { Worker } from "node:worker_threads";
import * as fs from "../../src/index.ts";
import { existingThread } from "../../src/ring/context.ts";
import { event, runCases } from "../helpers/cases.ts";
import { openFds } from "../helpers/fds.ts";
import { type Fuse, startFuse } from "../helpers/fuse.ts";
import { MOVES, type Move } from "./moves.ts";
import { content, FED, World } from "./world.ts";

export interface Plan {
  seed: number;
  rounds: number;
  /** Folders on file systems of different kinds. */
  dirs: string[];
  fuse: boolean;
}

const ENDS = ["terminate", "exit", "throw"] as const;
const onRing = fs.backend === "io_uring";

/** What the process's descriptors point at, but for those of rings and of the package's own look-out. */
const files = (): string[] =>
  [...openFds().values()].filter((target) => !/^(anon_inode|socket|pipe)|mountinfo$/.test(target));

/** What the tables of this thread have out, and the process's descriptors. */
function held(): Record<string, number> {
  const t = existingThread();
  const fds = files().length;
  if (t === null || t.ring.closed) return { fds };
  const { inFlight, queued } = t.ring.stats();
  return { fds, inFlight, queued, slots: t.ring.operations.used, cells: t.cells.used, direct: t.direct.used };
}

/** Waits, not for ever, until nothing is out and no more than `fds` files are open; what is. */
async function leftOver(world: World, fds: number): Promise<string[]> {
  for (let round = 0; ; round++) {
    const now = held();
    const more = Object.keys(now).filter((name) => now[name]! > (name === "fds" ? fds : 0));
    if (more.length === 0) return [];
    if (round === 100) return more.map((name) => `left ${name}: ${now[name]} (files: ${fds}, ${files().slice(-4)})`);
    world.feed(); // on the node backend a thread may still wait there for a call that was aborted
    await Bun.sleep(10);
  }
}

/** A ring given up with more calls waiting than it has direct descriptors; a new one; then the old one's signals. */
async function shutdownOver(world: World): Promise<void> {
  world.mayBeCancelled = true;
  const controllers = Array.from({ length: onRing ? 300 : 0 }, () => new AbortController());
  for (const { signal } of controllers)
    world.call("readFile over a shutdown", fs.readFile(world.fifo, { signal }), ["ABORT_ERR"]);
  await Bun.sleep(world.random.below(20));
  await fs.shutdown({ timeoutMs: world.random.below(20) });
  await fs.stat("/");
  for (const controller of controllers) controller.abort();
  const file = world.file(77, 3000);
  for (let i = 0; i < 300; i++)
    world.call("readFile on the next ring", fs.readFile(file), [], (bytes) => world.mustBe("next ring", bytes, 77));
}

/** Aligned memory given up by a shutdown while a slow server still has to answer into it. */
async function lateAnswer(world: World, fuse: Fuse): Promise<void> {
  const [a, b] = [`${fuse.path}/a`, `${fuse.path}/b`];
  await fs.writeFile(a, content(1, 16_384));
  await fs.writeFile(b, content(2, 65_536));
  const first = await fs.open(a, "r", { direct: true });
  await fuse.mode({ mode: "slow", ms: 400, ops: ["read"] });
  world.mayBeCancelled = true;
  const { view } = world.arena(5000);
  world.call("direct read that is given up", first.read(view, 0, 5000, 100), ["ECANCELED"]);
  await Bun.sleep(30);
  await fs.shutdown({ timeoutMs: 10 });
  await fuse.mode({ mode: "ok" });
  const second = await fs.open(b, "r+", { direct: true });
  await fuse.mode({ mode: "slow", ms: 800, ops: ["read"], after: 1, count: 1 });
  await second.write(content(2, 8000, 100), 0, 8000, 100); // reads the blocks at both ends first
  await fuse.mode({ mode: "ok" });
  await second.close();
  await first.close().catch(() => {});
  world.mustBe("beside a late answer", await fs.readFile(b), 2);
}

/** A Worker that ends over its work; meanwhile this thread allocates, and looks for the FIFO's bytes among its own. */
async function workerEnds(world: World, end: string): Promise<void> {
  const path = world.file(9, 65_536);
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: { fifo: world.fifo, path, end } });
  worker.on("error", () => {});
  const exited = new Promise((resolve) => worker.once("exit", resolve));
  const posted = await Promise.race([
    new Promise<Uint8Array>((resolve) => worker.once("message", resolve)),
    exited.then(() => null),
  ]);
  if (end === "terminate") void worker.terminate();
  const own: Uint8Array[] = [];
  for (const since = performance.now(); performance.now() - since < 60; ) {
    for (let i = 0; i < 20; i++) own.push(new Uint8Array(new ArrayBuffer(4096)));
    world.feed();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await exited;
  Bun.gc(true);
  if (own.some((bytes) => bytes.includes(FED))) world.fail("a Worker's end", "foreign bytes in this thread's memory");
  if (posted === null) {
    if (end !== "exit") world.fail("a Worker", "ended before it had posted");
  } else world.mustBe("a Worker's memory", posted, 9);
}

await runCases({
  async rounds({ seed, rounds, dirs, fuse: useFuse }: Plan): Promise<string[]> {
    const wrong: string[] = [];
    process.on("unhandledRejection", (error: any) => wrong.push(`unhandled: ${error?.stack ?? error}`));
    process.on("uncaughtException", (error) => wrong.push(`uncaught: ${error.stack}`));
    process.on("warning", () => {}); // leases that were dropped, on purpose
    const fuse = useFuse ? await startFuse() : null;
    const world = new World(seed, `${dirs[0]}/world${seed}`);
    const deck: [string, Move][] = [];
    /** All moves come before one comes again. */
    const deal = (): [string, Move] => {
      deck.push(...Object.entries(MOVES).toSorted(() => world.random.next() - 0.5));
      return deck.pop()!;
    };
    let fds = files().length;
    try {
      for (let round = 0; round < rounds && wrong.length + world.wrong.length < 20; round++) {
        const dir = `${world.random.pick(dirs)}/s${seed}r${round}`;
        mkdirSync(dir);
        const where = (what: string): string => `seed ${seed}, round ${round}: ${what}`;
        const before = world.wrong.length;
        const chosen = Array.from({ length: 6 }, () => deck.pop() ?? deal());
        if (round % 8 === 3 && fuse !== null && onRing) await lateAnswer(world, fuse);
        const started = chosen.map(([name, move], i) => {
          // File systems that answer in their own time among those that answer at once.
          const at = fuse !== null && (i + round) % 2 === 0 ? fuse.path : dir;
          const begun = Promise.resolve(move(world, at));
          return begun.catch((error) => {
            if (!(world.mayBeCancelled && error?.code === "ECANCELED")) world.fail(name, String(error?.stack ?? error));
          });
        });
        const turn = round % 4;
        event(
          `round ${round}`,
          chosen.map(([name]) => name),
        );
        if (turn === 1) await shutdownOver(world);
        else if (turn === 2) await workerEnds(world, ENDS[(round >> 2) % 3]!);
        else Bun.gc(true);
        await Promise.all(started);
        await world.settle();
        world.mayBeCancelled = false;
        // What a Worker had open stays open until the process ends: nobody runs any more who knows of it.
        if (turn === 2) fds = Number.POSITIVE_INFINITY;
        for (const what of await leftOver(world, fds)) world.wrong.push(what);
        if (turn === 2) fds = files().length;
        for (let i = before; i < world.wrong.length; i++) wrong.push(where(world.wrong[i]!));
        if (world.wrong.length > before) event("wrong", world.wrong.slice(before));
      }
    } finally {
      world.close();
      await fuse?.stop();
    }
    await fs.shutdown({ timeoutMs: 100 });
    return wrong;
  },
});
