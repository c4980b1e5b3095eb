// Owns what others do with a FileHandle: the streams of node:fs, Workers, and methods called on what is no handle.
// Assumes that each implementation gives handles of its own class. Never covers the handle's own streams.

import { expect } from "bun:test";
import type { EventEmitter } from "node:events";
import * as nodeFs from "node:fs";
import { readFileSync } from "node:fs";
import { finished } from "node:stream/promises";
import { Worker } from "node:worker_threads";
import { forEachImplementation } from "../helpers/backends.ts";
import { expectArgumentError, rejection } from "../helpers/expect-error.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const WORKER = `
const { parentPort, workerData } = require("node:worker_threads");
workerData.handle.readFile("utf8").then(async (text) => {
  await workerData.handle.close();
  parentPort.postMessage(text);
});
`;

const workerWith = (handle: object): Worker =>
  new Worker(WORKER, { eval: true, workerData: { handle }, transferList: [handle as any] });

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();

  it("fs.createReadStream reads from a handle, and closes it", async () => {
    const data = patternBytes(300_000, 5);
    const handle = await fs.open(tmp.file(data));
    const stream = nodeFs.createReadStream("", { fd: handle, start: 7, end: 290_000 });
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).equals(data.subarray(7, 290_001))).toBe(true);
    await handle.close();
    expect(handle.fd).toBe(-1);
    expect(tmp.openFiles()).toEqual([]);
  });

  it("fs.createWriteStream writes to a handle, which a second close waits for", async () => {
    const path = tmp.path();
    const handle = await fs.open(path, "w");
    const stream = nodeFs.createWriteStream("", { fd: handle });
    let closes = 0;
    (handle as unknown as EventEmitter).on("close", () => closes++);
    for (let i = 0; i < 100; i++) stream.write(`line ${i}\n`);
    stream.end();
    await finished(stream);
    await handle.close();
    expect(readFileSync(path, "utf8").split("\n")).toHaveLength(101);
    expect(closes).toBe(1);
    expect(tmp.openFiles()).toEqual([]);
  });

  it("closing the handle ends a stream of node:fs on it", async () => {
    const handle = await fs.open(tmp.file(patternBytes(1 << 20)));
    const stream = nodeFs.createReadStream("", { fd: handle });
    const ended = finished(stream).catch((error) => error.code);
    await handle.close();
    expect(await ended).toBe("ERR_STREAM_PREMATURE_CLOSE");
    expect(handle.fd).toBe(-1);
    expect(tmp.openFiles()).toEqual([]);
  });

  it("a handle moves to a Worker, and is gone here", async () => {
    const handle = await fs.open(tmp.file("from here"));
    const worker = workerWith(handle);
    const answer = new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    expect(handle.fd).toBe(-1);
    expect((await rejection(handle.read())).code).toBe("EBADF");
    expect(await answer).toBe("from here");
    await worker.terminate();
    expect(tmp.openFiles()).toEqual([]);
  });

  it("a handle in use does not move", async () => {
    const handle = await fs.open(tmp.file("x"));
    nodeFs.createReadStream("", { fd: handle });
    expect(() => workerWith(handle)).toThrow("Cannot transfer FileHandle while in use");
    await handle.close();
    expect(tmp.openFiles()).toEqual([]);
  });

  it("its methods on what is no handle reject", async () => {
    await using handle = await fs.open(tmp.file("x"));
    for (const method of ["stat", "read", "write", "readFile", "writeFile", "truncate"] as const) {
      const call = (): Promise<unknown> => (handle[method] as any).call({}, Buffer.alloc(1), 0, 1, 0);
      const error = await rejection(call());
      expect([method, error.code, error.message.split("\n")[0]]).toEqual([
        method,
        "ERR_INTERNAL_ASSERTION",
        "handle must be an instance of FileHandle",
      ]);
    }
  });

  it("createReadStream and createWriteStream refuse every signal that is none", async () => {
    await using handle = await fs.open(tmp.file("x"), "r+");
    for (const signal of [1, {}, "", null, Number.NaN, false] as any[]) {
      for (const make of ["createReadStream", "createWriteStream"] as const) {
        const attempt = async (): Promise<unknown> => handle[make]({ signal });
        await expectArgumentError(attempt(), "ERR_INVALID_ARG_TYPE");
      }
    }
  });
}, "handle-elsewhere");
