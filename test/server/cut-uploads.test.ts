// Uploads that fail in every way a client or a disk has, over raw sockets: each is answered with its status where anybody listens,
// nothing is left of it, the old file stays, and the server's descriptors and memory come back to what they were.
// Assumes Linux' /proc; a tmpfs needs root. 60 uploads of each run here, 1,000 with BUN_URING_SLOW. SEED repeats one run.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readLines } from "../helpers/lines.ts";
import { type Mount, mountTmpfs } from "../helpers/mounts.ts";
import { missing } from "../helpers/requirements.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const SLOW = process.env.BUN_URING_SLOW === "1";
const UPLOADS = SLOW ? 1000 : 60;
const SEED = Number(process.env.SEED ?? 17);
const MIB = 1024 * 1024;
const MAX_BYTES = 4 * MIB;
const FULL_BYTES = 2 * MIB;
const AT_ONCE = 8;
const body = patternBytes(6 * MIB) as Buffer<ArrayBuffer>;
const old = patternBytes(100_000, 3);
const noTmpfs = missing(["tmpfs"]);

function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** What a client does with its connection. */
interface Attempt {
  head: string;
  /** Sent behind the head, in chunks of so many bytes. */
  body: Uint8Array;
  chunks: number;
  /** After that: waits for an answer, ends its side and waits, or breaks off. */
  last: "wait" | "end" | "break";
  /** Statuses that are right; 0: the connection is closed without an answer. */
  statuses: number[];
}

const chunked = (bytes: Uint8Array): Buffer => {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 100_000) {
    const chunk = bytes.subarray(at, at + 100_000);
    chunks.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), Buffer.from(chunk), Buffer.from("\r\n"));
  }
  return Buffer.concat(chunks);
};

const FORM_LINE = "POST /form HTTP/1.1\nContent-Type: multipart/form-data; boundary=b";
const FORM_HEAD = '--b\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\n';
const formOf = (content: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from(FORM_HEAD), content, Buffer.from("\r\n--b--\r\n")]);

type Kind = (random: (below: number) => number) => Attempt;

const KINDS: Record<string, Kind> = {
  "whole, announced": (random) => {
    const length = random(3) === 0 ? random(3 * MIB) : random(MIB);
    return attempt(`PUT /up HTTP/1.1`, length, body.subarray(0, length), random, "wait", [201]);
  },
  "cut at a random point": (random) => {
    const length = 1 + random(3 * MIB);
    return attempt("PUT /up HTTP/1.1", length, body.subarray(0, random(length)), random, "break", [0]);
  },
  "its side ended before the announced length": (random) => {
    const length = 1 + random(3 * MIB);
    return attempt("PUT /up HTTP/1.1", length, body.subarray(0, random(length)), random, "end", [0, 400]);
  },
  "cut in the head": (random) => {
    const head = "PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n";
    return {
      head: head.slice(0, random(head.length)),
      body: body.subarray(0, 0),
      chunks: 1,
      last: "break",
      statuses: [0],
    };
  },
  "announced over the limit": (random) =>
    attempt(
      "PUT /up HTTP/1.1",
      MAX_BYTES + 1 + random(2 ** 30),
      body.subarray(0, random(300_000)),
      random,
      "wait",
      [413],
    ),
  "over the limit as it comes": (random) =>
    attempt("PUT /up HTTP/1.1\nTransfer-Encoding: chunked", null, chunked(body), random, "wait", [413]),
  "chunked, cut": (random) => {
    const all = chunked(body.subarray(0, random(3 * MIB)));
    return attempt(
      "PUT /up HTTP/1.1\nTransfer-Encoding: chunked",
      null,
      all.subarray(0, random(all.length + 1)),
      random,
      "break",
      [0],
    );
  },
  "a chunk's length that is none": (random) => {
    const all = Buffer.concat([chunked(body.subarray(0, random(MIB))), Buffer.from("zz\r\nxx\r\n")]);
    return attempt("PUT /up HTTP/1.1\nTransfer-Encoding: chunked", null, all, random, "end", [0, 400]);
  },
  "a length that is none": (random) => {
    const lengths = ["abc", "-1", "1e3", "0x10", "5, 6", "18446744073709551617", "+5", "5 5", ""];
    return attempt(
      `PUT /up HTTP/1.1\nContent-Length: ${lengths[random(lengths.length)]}`,
      null,
      body.subarray(0, 5),
      random,
      "end",
      [0, 400, 413],
    );
  },
  "two lengths": (random) =>
    attempt(
      "PUT /up HTTP/1.1\nContent-Length: 5\nContent-Length: 7",
      null,
      body.subarray(0, 7),
      random,
      "end",
      [0, 400],
    ),
  "a length and chunks": (random) =>
    attempt(
      "PUT /up HTTP/1.1\nContent-Length: 5\nTransfer-Encoding: chunked",
      null,
      chunked(body.subarray(0, 50)),
      random,
      "end",
      [0, 400],
    ),
  "a form cut within a file": (random) => {
    const form = formOf(body.subarray(0, 2 * MIB));
    return attempt(FORM_LINE, form.length, form.subarray(0, random(form.length)), random, "break", [0]);
  },
  "a form whose file is over the limit": (random) => {
    const form = formOf(body);
    return attempt(FORM_LINE, form.length, form, random, "wait", [413]);
  },
  "a whole form": (random) => {
    const form = formOf(body.subarray(0, random(2 * MIB)));
    return attempt(FORM_LINE, form.length, form, random, "wait", [201]);
  },
  "gone on with at another offset": (random) =>
    attempt(`PUT /resume/up?offset=${1 + random(99_999)} HTTP/1.1`, 100, body.subarray(0, 100), random, "wait", [409]),
};
const FULL_KINDS: Record<string, Kind> = {
  "more than the disk has": (random) => {
    const length = FULL_BYTES + 1 + random(MAX_BYTES - FULL_BYTES);
    return attempt("PUT /full/up HTTP/1.1", length, body.subarray(0, length), random, "wait", [507]);
  },
  "more than the disk has, in chunks": (random) =>
    attempt(
      "PUT /full/up HTTP/1.1\nTransfer-Encoding: chunked",
      null,
      Buffer.concat([chunked(body.subarray(0, 3 * MIB)), Buffer.from("0\r\n\r\n")]),
      random,
      "wait",
      [507],
    ),
};

function attempt(
  head: string,
  length: number | null,
  bytes: Uint8Array,
  random: (below: number) => number,
  last: Attempt["last"],
  statuses: number[],
): Attempt {
  const announced = length === null ? "" : `Content-Length: ${length}\r\n`;
  const chunks = random(2) === 0 ? bytes.length + 1 : 1 + random(200_000);
  return {
    head: `${head.replaceAll("\n", "\r\n")}\r\nHost: x\r\n${announced}\r\n`,
    body: bytes,
    chunks,
    last,
    statuses,
  };
}

/** Does as the attempt says; the status that was answered, 0 for none. */
async function made(port: number, { head, body, chunks, last }: Attempt): Promise<number> {
  let answer = "";
  const { promise: over, resolve: end } = Promise.withResolvers<void>();
  let drained: () => void = () => {};
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data(_, data) {
        answer += data.toString("latin1");
        if (answer.includes("\r\n\r\n") && !answer.startsWith("HTTP/1.1 100")) end();
      },
      drain: () => drained(),
      close: () => end(),
      error: () => end(),
    },
  });
  let isOver = false;
  void over.then(() => {
    isOver = true;
    drained();
  });
  for (const bytes of [Buffer.from(head, "latin1"), body]) {
    for (let at = 0; at < bytes.length && !isOver; ) {
      const sent = socket.write(bytes.subarray(at, at + chunks));
      if (sent < 0) break;
      at += sent;
      if (sent === 0) await new Promise<void>((resolve) => (drained = resolve));
      else if (chunks < bytes.length) await new Promise((resolve) => setImmediate(resolve));
    }
  }
  if (last === "break") socket.terminate();
  else {
    if (last === "end") socket.shutdown();
    await over;
    socket.terminate();
  }
  return Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0);
}

const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
const memoryMib = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

const [PARALLEL, LARGE_BYTES] = SLOW ? [100, 50 * MIB] : [24, 6 * MIB];
/** Bun itself holds up to 190 MiB of a hundred bodies that nobody reads yet (docs/uploads.md). */
const MOST_MIB = SLOW ? 400 : 200;

describe("uploads at the same time", () => {
  test(`${PARALLEL} of ${LARGE_BYTES / MIB} MiB, half of them forms, take less than ${MOST_MIB} MiB`, async () => {
    const folder = tmp.folder();
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "uploads.child.ts"), "ours", folder], {
      stdout: "pipe",
      env: { ...process.env, MAX_BYTES: String(LARGE_BYTES) },
    });
    try {
      const port = Number(await readLines(child.stdout).next());
      const content = Buffer.allocUnsafe(LARGE_BYTES);
      for (let at = 0; at < LARGE_BYTES; at += body.length) body.copy(content, at);
      const form = formOf(content);
      const upload = (_: unknown, i: number): Promise<number> => {
        const [line, bytes] = i % 2 === 0 ? [FORM_LINE, form] : [`PUT /large-${i} HTTP/1.1`, content];
        const head = `${line.replace("\n", "\r\n")}\r\nHost: x\r\nContent-Length: ${bytes.length}\r\n\r\n`;
        return made(port, { head, body: bytes, chunks: 256 * 1024, last: "wait", statuses: [201] });
      };
      const statuses = await Promise.all(Array.from({ length: PARALLEL }, upload));
      expect(statuses).toEqual(Array.from({ length: PARALLEL }, () => 201));
      const peak = Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1]) / 1024;
      if (process.env.SHOW === "1") console.log(`peak ${peak.toFixed(0)} MiB`);
      expect(peak).toBeLessThan(MOST_MIB);
      const names = readdirSync(folder);
      expect(names.length).toBe(PARALLEL / 2);
      for (const name of names.slice(0, 5)) expect(readFileSync(join(folder, name)).equals(content)).toBe(true);
    } finally {
      child.kill();
      await child.exited;
    }
  }, 240_000);
});

describe("uploads that fail", () => {
  test(`${UPLOADS} of them leave nothing (seed ${SEED})${noTmpfs === null ? "" : ` [no full disk: ${noTmpfs}]`}`, async () => {
    const folder = tmp.folder();
    const full: Mount | null = noTmpfs === null ? mountTmpfs(FULL_BYTES) : null;
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "uploads.child.ts"), "ours", folder, full?.path ?? folder],
      {
        stdout: "pipe",
        env: { ...process.env, MAX_BYTES: String(MAX_BYTES) },
      },
    );
    try {
      const port = Number(await readLines(child.stdout).next());
      const origin = `http://127.0.0.1:${port}`;
      const kinds = Object.entries({ ...KINDS, ...(full === null ? {} : FULL_KINDS) });
      const random = randomFrom(SEED);
      writeFileSync(join(folder, "up"), old);
      if (full !== null) writeFileSync(join(full.path, "up"), old);

      /** When every upload has ended: a client's going away takes a moment to be seen. */
      const settled = async (): Promise<void> => {
        while (((await (await fetch(`${origin}/state`)).json()) as { running: number }).running > 0)
          await Bun.sleep(20);
      };
      const wrong: unknown[] = [];
      let number = 0;
      const client = async (until: number): Promise<void> => {
        while (number < until) {
          const index = number++;
          const [name, kind] = kinds[index % kinds.length]!;
          const one = kind(random);
          // Whole ones go to a name of their own: the old file is what the others must not touch.
          if (one.statuses[0] === 201) one.head = one.head.replace("/up", `/whole-${index}`);
          const status = await made(port, one);
          if (!one.statuses.includes(status)) wrong.push({ index, name, status, statuses: one.statuses });
        }
      };
      const clients = (until: number) => Promise.all(Array.from({ length: AT_ONCE }, () => client(until)));
      await clients(UPLOADS / 4);
      await settled();
      const [fds, memory] = [descriptors(child.pid), memoryMib(child.pid)];
      await clients(UPLOADS);
      await settled();
      expect(wrong).toEqual([]);
      const names = readdirSync(folder);
      expect(names.filter((name) => !name.startsWith("whole-"))).toEqual(["up"]);
      expect(names.length).toBeGreaterThan(UPLOADS / kinds.length / 2);
      for (const name of names.slice(0, 20)) {
        const content = readFileSync(join(folder, name));
        expect(content.equals(name === "up" ? old : body.subarray(0, content.length))).toBe(true);
      }
      if (full !== null) {
        expect(readdirSync(full.path)).toEqual(["up"]);
        expect(readFileSync(join(full.path, "up")).equals(old)).toBe(true);
      }
      // fetch keeps a connection or two for its next request; what wakes the ring, and a second one for jobs, are made when
      // they are first needed.
      expect(descriptors(child.pid)).toBeLessThanOrEqual(fds + 6);
      // The allocator keeps some of what the first of them took.
      expect(memoryMib(child.pid)).toBeLessThan(memory + 48);
    } finally {
      child.kill();
      await child.exited;
      await full?.unmount();
    }
  }, 240_000);
});
