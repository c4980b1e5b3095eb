// Owns the cases of helper.test.ts: programs that do one path operation after another, and so get a helper thread.
// Assumes io_uring. Never ends before what it started has ended, but where just that is the case.

import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { Worker } from "node:worker_threads";
import * as fs from "../../src/promises.ts";
import { type RingThread, ringThread } from "../../src/ring/context.ts";
import { event, outcome, runCases } from "../helpers/cases.ts";
import { startGapMeter } from "../helpers/loop-gap.ts";

/** The helper's counters: whether it is there, calls posted. */
function counts(): { alive: boolean; posted: number } {
  const { native, ring } = ringThread() as RingThread;
  const out = new Uint32Array(8);
  native.helperCounts(ring.address, out);
  return { alive: out[0] === 1, posted: out[1]! };
}

/** Operations enough to get a helper. */
async function warmUp(dir: string): Promise<void> {
  for (let i = 0; i < 30; i++) {
    await fs.mkdir(`${dir}/warm`);
    await fs.rmdir(`${dir}/warm`);
  }
  if (counts().posted === 0) throw new Error("no helper");
}

/** Threads of this process with the helper's name. */
function helperThreads(): number {
  return readdirSync("/proc/self/task").filter((id) => {
    try {
      return readFileSync(`/proc/self/task/${id}/comm`, "utf8").trim() === "bun-uring";
    } catch {
      return false; // it has just ended
    }
  }).length;
}

/** What the helper's thread has done: milliseconds of a processor, and how often it went to sleep or was made to; null: it is gone. */
function helperWork(): { ms: number; switches: number } | null {
  for (const id of readdirSync("/proc/self/task")) {
    const at = `/proc/self/task/${id}`;
    try {
      if (readFileSync(`${at}/comm`, "utf8").trim() !== "bun-uring") continue;
      const ns = Number(readFileSync(`${at}/schedstat`, "latin1").split(" ")[0]);
      const counts = [...readFileSync(`${at}/status`, "latin1").matchAll(/ctxt_switches:\s+(\d+)/g)];
      return { ms: ns / 1e6, switches: counts.reduce((sum, [, count]) => sum + Number(count), 0) };
    } catch {
      // it has just ended
    }
  }
  return null;
}

await runCases({
  async used({ dir }) {
    await warmUp(dir);
    return { ...counts(), threads: helperThreads() };
  },

  /** setuid reaches the helper's credentials, too. */
  async setuid({ dir }) {
    await warmUp(dir);
    const { posted } = counts();
    process.setuid!(65534);
    const seen = [];
    for (let i = 0; i < 3; i++)
      seen.push(
        await outcome(fs.mkdir(`${dir}/never`)),
        await outcome(fs.writeFile(`${dir}/never`, "x")),
        await outcome(fs.rename(`${dir}/file`, `${dir}/never`)),
      );
    return {
      codes: [...new Set(seen.map((one) => (typeof one === "string" ? one : one.code)))],
      posted: counts().posted - posted,
    };
  },

  /** Small files one after another, by one call each; what is no such file goes the other ways. */
  async copies({ dir }) {
    await warmUp(dir);
    process.umask(0o027);
    const at = (name: string): string => `${dir}/${name}`;
    const modeOf = async (name: string): Promise<number> => (await fs.stat(at(name))).mode & 0o7777;
    const text = (name: string): string => readFileSync(at(name), "utf8");
    writeFileSync(at("source"), "contents");
    chmodSync(at("source"), 0o666);
    writeFileSync(at("longer"), "what was there before");
    chmodSync(at("longer"), 0o666);
    symlinkSync("source", at("link"));
    linkSync(at("source"), at("alias"));
    Bun.spawnSync(["mkfifo", at("fifo")]);
    const { posted } = counts();
    for (let i = 0; i < 20; i++) await fs.copyFile(at("source"), at(`new${i}`));
    const calls = counts().posted - posted;
    await fs.copyFile(at("source"), at("longer"));
    await fs.copyFile(at("link"), at("of-link"));
    await fs.cp(at("source"), at("by-cp"));
    await fs.cp(at("link"), at("cp-link"));
    const exclusive = await outcome(fs.copyFile(at("source"), at("longer"), fs.constants.COPYFILE_EXCL));
    const fifo = await outcome(fs.cp(at("fifo"), at("of-fifo")));
    await fs.copyFile(at("source"), at("source"));
    await fs.copyFile(at("source"), at("alias"));
    return {
      calls,
      texts: ["new0", "new19", "longer", "of-link", "by-cp", "source", "alias"].map(text),
      modes: [await modeOf("new0"), await modeOf("longer"), await modeOf("by-cp")],
      links: [lstatSync(at("of-link")).isFile(), lstatSync(at("cp-link")).isSymbolicLink()],
      codes: [exclusive, fifo].map((one) => (typeof one === "string" ? one : one.code)),
    };
  },

  async umask({ dir }) {
    await warmUp(dir);
    process.umask(0o077);
    await fs.writeFile(`${dir}/masked`, "x");
    await fs.mkdir(`${dir}/folder`);
    process.chdir(dir);
    await fs.rename("masked", "renamed");
    return [(await fs.stat("renamed")).mode & 0o777, (await fs.stat("folder")).mode & 0o777];
  },

  /**
   * Parked it costs nothing, and nobody looks after it; after some seconds it is gone, and comes again. Its own thread is
   * looked at: the process has the collector's and the compiler's besides, which take the longer the busier the machine is.
   */
  async idle({ dir }) {
    await warmUp(dir);
    await Bun.sleep(300); // it has parked by now
    const { ring } = ringThread() as RingThread;
    const threads = helperThreads();
    const calls = ring.nativeCalls;
    const first = helperWork()!;
    let last = first;
    let samples = 0;
    for (let i = 0; i < 200; i++) {
      await Bun.sleep(100);
      const now = helperWork();
      if (now === null) break;
      last = now;
      samples++;
    }
    const spent = { ms: last.ms - first.ms, switches: last.switches - first.switches, calls: ring.nativeCalls - calls };
    const later = helperThreads();
    await fs.mkdir(`${dir}/after`);
    await warmUp(dir);
    return { spent, samples, threads, later, again: helperThreads() };
  },

  /** A FIFO in the place of a file waits for its reader in the ring, and holds nobody up. */
  async fifo({ dir, fifo }) {
    await warmUp(dir);
    let settled = false;
    const written = fs.writeFile(fifo, "through").then(() => {
      settled = true;
    });
    for (let i = 0; i < 30; i++) {
      await fs.mkdir(`${dir}/beside`);
      await fs.rmdir(`${dir}/beside`);
    }
    const early = settled;
    const handle = await fs.open(fifo, "r");
    const text = await handle.readFile("utf8");
    await written;
    await handle.close();
    return { early, text };
  },

  /** What breaks a chain in the middle is told as it is, and leaves no descriptor. */
  async broken({ dir, small }) {
    await warmUp(dir);
    const open = (): number => readdirSync("/proc/self/fd").length;
    const before = open();
    const full = await outcome(fs.writeFile("/dev/full", "x"));
    const noSpace = [];
    for (let i = 0; i < 4; i++) noSpace.push(await outcome(fs.writeFile(`${small}/f${i}`, Buffer.alloc(40_000, 1))));
    const missing = await outcome(fs.appendFile(`${dir}/none/x`, "x"));
    return { full, noSpace, missing, descriptors: open() - before };
  },

  /** A disk that stands still holds up what is on it, nothing else. */
  async frozen({ dir, disk }) {
    await warmUp(dir);
    const { posted } = counts();
    event("ready");
    await Bun.sleep(300); // it is frozen by now
    const meter = startGapMeter();
    let stuck = true;
    const slow = Promise.all(
      Array.from({ length: 3 }, async (_, i) => {
        await fs.mkdir(`${disk}/made${i}`);
        await fs.writeFile(`${disk}/made${i}/file`, "x");
        stuck = false;
      }),
    );
    let rounds = 0;
    const until = performance.now() + 1000;
    while (performance.now() < until) {
      await fs.writeFile(`${dir}/beside`, "x");
      await fs.unlink(`${dir}/beside`);
      rounds++;
    }
    const wasStuck = stuck;
    const gap = meter.stop();
    event("thaw");
    await slow;
    return {
      rounds,
      wasStuck,
      gap,
      posted: counts().posted - posted,
      made: readdirSync(disk)
        .filter((name) => name !== "lost+found")
        .sort(),
    };
  },

  /** A file server answers slowly: it is the ring's, and the loop goes on. */
  async remote({ dir, server }) {
    await warmUp(dir);
    const { posted } = counts();
    const meter = startGapMeter();
    for (let i = 0; i < 4; i++) {
      await fs.writeFile(`${server}/f${i}`, "x");
      await fs.rename(`${server}/f${i}`, `${server}/g${i}`);
      await fs.access(`${server}/g${i}`);
      await fs.unlink(`${server}/g${i}`);
    }
    return { posted: counts().posted - posted, gap: meter.stop() };
  },

  async exit({ dir }) {
    await warmUp(dir);
    for (let i = 0; i < 64; i++) void fs.mkdir(`${dir}/last${i}`);
    await Promise.resolve();
    process.exit(3);
  },

  /** The process stays for what is pending, and not for an idle helper. */
  async ends({ dir }) {
    await warmUp(dir);
    void fs.writeFile(`${dir}/pending`, "x").then(() => event("written"));
  },

  /** terminate() in the middle of one operation after another: threads and descriptors are gone, nothing crashes. */
  async terminated({ dir, rounds }) {
    const source = `
      import { parentPort, workerData } from "node:worker_threads";
      import * as fs from ${JSON.stringify(`${import.meta.dir}/../../src/promises.ts`)};
      for (let i = 0; ; i++) {
        await fs.writeFile(workerData.dir + "/f" + i, Buffer.alloc(3000, 7));
        await fs.rename(workerData.dir + "/f" + i, workerData.dir + "/g");
        if (i === 40) parentPort.postMessage("going");
      }`;
    writeFileSync(`${dir}/worker.mjs`, source);
    await warmUp(dir);
    for (let i = 0; i < rounds; i++) {
      mkdirSync(`${dir}/w${i}`);
      const worker = new Worker(`${dir}/worker.mjs`, { workerData: { dir: `${dir}/w${i}` } });
      await new Promise((resolve) => worker.once("message", resolve));
      await Bun.sleep(i % 5);
      await worker.terminate();
    }
    const until = performance.now() + 5000;
    while (helperThreads() > 1 && performance.now() < until) await Bun.sleep(20);
    return helperThreads() <= 1;
  },
});
