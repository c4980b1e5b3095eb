// receive and multipart: what arrives, what is refused with which status, and that nothing is left of what failed, over raw
// sockets and through fetch, on both backends.
// Assumes a folder. Streams of any cut are made here; no client library is trusted.

import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type MultipartOptions,
  type MultipartPart,
  multipart,
  openRoot,
  ReceiveError,
  receive,
} from "../../src/server.ts";
import { rawRequest } from "../helpers/http.ts";
import { code } from "../helpers/settled.ts";
import { patternBytes as pattern, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const MIB = 1024 * 1024;
const patternBytes = (length: number, seed?: number): Buffer<ArrayBuffer> =>
  pattern(length, seed) as Buffer<ArrayBuffer>;

/** A body in chunks of the given sizes, over and over. */
function chunks(bytes: Uint8Array, sizes: number[], fail?: Error): ReadableStream {
  let [at, turn] = [0, 0];
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) {
        if (fail === undefined) controller.close();
        else controller.error(fail);
        return;
      }
      const size = sizes[turn++ % sizes.length]!;
      controller.enqueue(bytes.slice(at, at + size));
      at += size;
    },
  });
}
const request = (body: ReadableStream | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}): Request =>
  new Request("http://x/", { method: "POST", body, headers });

describe("receive", () => {
  test("takes bodies of all sizes and cuts, with their hash and their progress", async () => {
    for (const size of [0, 1, 1000, MIB - 1, MIB, MIB + 1, 7 * MIB + 3]) {
      for (const sizes of [[65536], [1, 7, 4096, 300_000], [3 * MIB]]) {
        if (size > MIB && sizes[0] === 1) continue;
        const bytes = patternBytes(size, size + 1);
        const path = tmp.path();
        const seen: number[] = [];
        const result = await receive(request(chunks(bytes, sizes)), path, {
          hash: "sha256",
          onProgress: (received) => seen.push(received),
        });
        expect(result).toEqual({ bytes: size, size, hash: createHash("sha256").update(bytes).digest("hex") });
        expect(readFileSync(path).equals(bytes)).toBe(true);
        if (size > 0) expect(seen.at(-1)).toBe(size);
      }
    }
  });

  test("replaces in one step beneath a root, keeps the old file where it fails, and leaves nothing", async () => {
    const dir = tmp.folder();
    await using root = await openRoot(dir);
    const target = { root, name: "file" };
    await receive(request(patternBytes(10)), target);
    expect(await code(receive(request(chunks(patternBytes(3 * MIB), [100_000], new Error("cut"))), target))).toBe(
      "ERR_BODY_BROKEN_OFF",
    );
    expect(await code(receive(request(chunks(patternBytes(3 * MIB), [100_000])), target, { maxBytes: 2 * MIB }))).toBe(
      "ERR_BODY_TOO_LONG",
    );
    const controller = new AbortController();
    const aborting = receive(request(chunks(patternBytes(3 * MIB), [100_000])), target, {
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    expect(await code(aborting)).not.toBe("resolved");
    const throwing = receive(request(chunks(patternBytes(3 * MIB), [100_000])), target, {
      onProgress: () => {
        throw Object.assign(new Error("mine"), { code: "MINE" });
      },
    });
    expect(await code(throwing)).toBe("MINE");
    expect(await code(receive(request(patternBytes(10)), target, { overwrite: false }))).toBe("EEXIST");
    expect(readdirSync(dir)).toEqual(["file"]);
    expect(readFileSync(join(dir, "file")).equals(patternBytes(10))).toBe(true);
    expect(await code(receive(request(patternBytes(10)), { root, name: "../out" }))).toBe("ERR_OUTSIDE_ROOT");
    expect(existsSync(join(dir, "../out"))).toBe(false);
  });

  test("goes on at an offset, and keeps what arrived of what is cut", async () => {
    const path = tmp.path();
    const bytes = patternBytes(5 * MIB);
    expect(
      await code(
        receive(request(chunks(bytes.subarray(0, 2 * MIB), [100_000], new Error("cut"))), path, { offset: 0 }),
      ),
    ).toBe("ERR_BODY_BROKEN_OFF");
    const size = statSync(path).size;
    expect(size).toBeGreaterThan(0);
    expect(readFileSync(path).equals(bytes.subarray(0, size))).toBe(true);
    const wrong = await receive(request(bytes.subarray(size) as Buffer<ArrayBuffer>), path, { offset: size + 1 }).catch(
      (e) => e,
    );
    expect([wrong.code, wrong.status]).toEqual(["ERR_BODY_OFFSET", 409]);
    const rest = await receive(request(chunks(bytes.subarray(size), [77_777])), path, {
      offset: size,
      durability: "data",
    });
    expect(rest).toEqual({ bytes: bytes.length - size, size: bytes.length, hash: null });
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  test("a body's memory stays its owner's, and what its chunks say of themselves is not believed", async () => {
    const text = patternBytes(3);
    const announced = { "content-length": "3" };
    expect((await receive(request(text, announced), tmp.path())).bytes).toBe(3);
    expect(text.equals(patternBytes(3))).toBe(true);
    // A request of the program's own class, which gives its bytes away.
    class Lent extends Request {
      override bytes = (): Promise<Uint8Array<ArrayBuffer>> => Promise.resolve(text);
    }
    await receive(new Lent("http://x/", { method: "POST", body: "abc", headers: announced }), tmp.path());
    expect(text.length).toBe(3);
    for (const size of [MIB / 2, 3 * MIB]) {
      const bytes = patternBytes(size, 7);
      const headers = { "content-length": String(size) };
      const original = size > MIB ? request(chunks(bytes, [MIB]), headers) : request(bytes, headers);
      const clone = original.clone();
      const [, other] = await Promise.all([receive(original, tmp.path()), clone.bytes()]);
      expect(Buffer.from(other).equals(bytes)).toBe(true);
    }
    const bytes = patternBytes(2 * MIB, 9);
    class Other extends Uint8Array {
      override subarray(): Uint8Array<ArrayBuffer> {
        return new Uint8Array(MIB);
      }
    }
    const liar = Object.defineProperty(new Other(bytes), "length", { value: 5 * MIB });
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(liar);
        controller.close();
      },
    });
    const path = tmp.path();
    expect((await receive(request(body), path)).bytes).toBe(bytes.length);
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  test("all that arrived of a cut upload is kept, in order, and nothing behind a gap", async () => {
    const path = tmp.path();
    const bytes = patternBytes(3 * MIB + 12_345);
    await code(receive(request(chunks(bytes, [99_999], new Error("cut"))), path, { offset: 0 }));
    expect(readFileSync(path).equals(bytes)).toBe(true);
    const small = tmp.path();
    await code(
      receive(request(chunks(bytes.subarray(0, 10), [3], new Error("cut")), { "content-length": "20" }), small, {
        offset: 0,
      }),
    );
    expect(readFileSync(small).equals(bytes.subarray(0, 10))).toBe(true);
  });

  test("one upload at a time goes on with a file; the file may not grow over maxBytes by many of them", async () => {
    const path = tmp.path();
    const { promise: goOn, resolve } = Promise.withResolvers<void>();
    const { promise: isRead, resolve: read } = Promise.withResolvers<void>();
    const slow = new ReadableStream(
      {
        async pull(controller) {
          read();
          await goOn;
          controller.enqueue(patternBytes(10));
          controller.close();
        },
      },
      { highWaterMark: 0 },
    );
    const first = receive(request(slow), path, { offset: 0 });
    await isRead; // it has its lock
    const second: any = await receive(request(patternBytes(1)), path, { offset: 0 }).catch((error) => error);
    expect([second.code, second.status]).toEqual(["ERR_BODY_LOCKED", 423]);
    resolve();
    expect((await first).size).toBe(10);
    const most = { maxBytes: 15 };
    const over = await receive(request(patternBytes(6)), path, { offset: 10, ...most }).catch((error) => error);
    expect([over.code, over.status]).toEqual(["ERR_BODY_TOO_LONG", 413]);
    const comes = request(chunks(patternBytes(6), [2]));
    expect(((await receive(comes, path, { offset: 10, ...most }).catch((error) => error)) as any).status).toBe(413);
    expect(statSync(path).size).toBeLessThanOrEqual(15);
    expect(((await receive(request(patternBytes(1)), tmp.path(), { offset: 5 }).catch((e) => e)) as any).status).toBe(
      409,
    );
    expect(((await receive(request(patternBytes(1)), tmp.folder(), { offset: 0 }).catch((e) => e)) as any).code).toBe(
      "EISDIR",
    );
    const fifo = tmp.fifo();
    expect(((await receive(request(patternBytes(1)), fifo, { offset: 0 }).catch((e) => e)) as any).status).toBe(409);
  });

  test("an abort ends an upload whose client is silent, small or large, new or gone on with", async () => {
    const dir = tmp.folder();
    for (const headers of [{}, { "content-length": "100" }] as Record<string, string>[])
      for (const offset of [undefined, 0]) {
        const controller = new AbortController();
        const silent = new ReadableStream({ pull: () => new Promise(() => {}) });
        const receiving = receive(request(silent, headers), join(dir, "file"), { offset, signal: controller.signal });
        setTimeout(() => controller.abort(), 5);
        expect(await code(receiving)).toBe("ABORT_ERR");
        const late = receive(request(patternBytes(10), headers), join(dir, "file"), {
          offset,
          signal: controller.signal,
        });
        expect(await code(late)).toBe("ABORT_ERR");
      }
    for (const name of readdirSync(dir)) expect([name, statSync(join(dir, name)).size]).toEqual(["file", 0]);
  });

  test("options: mode, durability, overwrite, and a body that somebody has read", async () => {
    for (const durability of ["none", "data", "full"] as const) {
      const path = tmp.path();
      await receive(request(patternBytes(10)), path, { durability, mode: 0o604 });
      expect(statSync(path).mode & 0o777).toBe(0o604);
      const resumed = tmp.path();
      await receive(request(patternBytes(10)), resumed, { durability, mode: 0o666, offset: 0 });
      expect(statSync(resumed).mode & 0o777).toBe(0o666);
      const taken = await receive(request(patternBytes(10)), path, { durability, overwrite: false }).catch((e) => e);
      expect([taken.code, taken.status]).toEqual(["EEXIST", 409]);
    }
    const taken = tmp.file("old");
    const unread = request(chunks(patternBytes(MIB), [1000]));
    expect(((await receive(unread, taken, { overwrite: false }).catch((e) => e)) as any).status).toBe(409);
    expect([unread.bodyUsed, readFileSync(taken, "utf8")]).toEqual([false, "old"]);
    for (const thrown of [null, undefined, 1, "x"]) {
      const onProgress = (): never => {
        throw thrown;
      };
      expect(await receive(request(patternBytes(10)), taken, { onProgress }).catch((e) => e)).toBe(thrown);
    }
    const used = request(patternBytes(10));
    await used.bytes();
    expect(await code(receive(used, tmp.path()))).toBe("ERR_BODY_ALREADY_USED");
    for (const length of ["10", "2000000"]) {
      const locked = request(chunks(patternBytes(10), [10]), { "content-length": length });
      locked.body!.getReader();
      expect(await code(receive(locked, tmp.path()))).toBe("ERR_BODY_ALREADY_USED");
    }
    const wrong = request(patternBytes(10), { "content-length": "11" });
    expect(((await receive(wrong, tmp.path()).catch((e) => e)) as any).status).toBe(400);
    expect(
      ((await receive(request(patternBytes(1), { "content-length": "-1" }), tmp.path()).catch((e) => e)) as any).status,
    ).toBe(400);
  });

  test("takes an answer that was compressed on its way", async () => {
    const bytes = Buffer.from("again and again ".repeat(10_000));
    await using server = Bun.serve({
      port: 0,
      fetch: () => new Response(Bun.gzipSync(bytes), { headers: { "content-encoding": "gzip" } }),
    });
    const path = tmp.path();
    expect((await receive(await fetch(server.url), path)).bytes).toBe(bytes.length);
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  test("wrong arguments are refused before a byte is read", async () => {
    const path = tmp.path();
    for (const [target, options] of [
      [5, {}],
      [path, { maxBytes: -1 }],
      [path, { hash: "none" }],
      [path, { onProgress: 1 }],
      [path, { signal: {} }],
      [path, { overwrite: 1 }],
      [path, { offset: 0, signal: {} }],
      [path, { offset: 0, durability: "some" }],
      [path, { offset: 0, mode: "x" }],
      [path, { offset: -1 }],
      [{ root: {}, name: "x" }, {}],
      [null, {}],
    ] as const) {
      const asked = request(patternBytes(10));
      expect(await code(receive(asked, target as never, options as never))).toStartWith("ERR_");
      expect(asked.bodyUsed).toBe(false);
    }
  });

  test("over a socket: right statuses, old files, and nothing left of what was cut or too long", async () => {
    const dir = tmp.folder();
    await using root = await openRoot(dir);
    const server = Bun.serve({
      port: 0,
      maxRequestBodySize: 64 * MIB,
      async fetch(asked) {
        try {
          const { bytes } = await receive(asked, { root, name: "up" }, { maxBytes: 4 * MIB });
          return Response.json({ bytes }, { status: 201 });
        } catch (error) {
          if (error instanceof ReceiveError) return error.toResponse();
          throw error;
        }
      },
    });
    const origin = `http://127.0.0.1:${server.port}`;
    const put = (body: Uint8Array<ArrayBuffer> | ReadableStream): Promise<Response> =>
      fetch(origin, { method: "PUT", body });
    expect((await put(patternBytes(3 * MIB))).status).toBe(201);
    const before = readFileSync(join(dir, "up"));
    expect((await rawRequest(server.port!, `PUT / HTTP/1.1\nContent-Length: ${5 * MIB}`)).status).toBe(413);
    expect((await put(chunks(patternBytes(6 * MIB), [MIB])).catch(() => ({ status: 413 }))).status).toBe(413);
    // Cut after a part of what was announced.
    for (let i = 0; i < 20; i++) {
      const socket = await Bun.connect({ hostname: "127.0.0.1", port: server.port!, socket: { data() {} } });
      socket.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${3 * MIB}\r\n\r\n`);
      socket.write(patternBytes(1 + i * 100_000));
      await Bun.sleep(i % 5);
      socket.terminate();
    }
    for (let i = 0; i < 200 && readdirSync(dir).length > 1; i++) await Bun.sleep(20);
    expect(readdirSync(dir)).toEqual(["up"]);
    expect(readFileSync(join(dir, "up")).equals(before)).toBe(true);
    await server.stop(true);
  });
});

/* ---- multipart ----------------------------------------------------------------------------------------------------- */

const BOUNDARY = "----WebKitFormBoundaryABC";

/** A form as it is sent: headers and content of each part. */
function form(parts: readonly (readonly [string, string | Uint8Array])[], boundary: string = BOUNDARY): Buffer {
  return Buffer.concat([
    ...parts.flatMap(([header, content]) => [
      Buffer.from(`--${boundary}\r\n${header.replaceAll("\n", "\r\n")}\r\n\r\n`),
      Buffer.from(content as string),
      Buffer.from("\r\n"),
    ]),
    Buffer.from(`--${boundary}--\r\n`),
  ]);
}
const file = (name: string, filename: string): string =>
  `Content-Disposition: form-data; name="${name}"; filename="${filename}"\nContent-Type: application/x-test`;
const field = (name: string): string => `Content-Disposition: form-data; name="${name}"`;

async function parse(
  body: Uint8Array | ReadableStream,
  options: MultipartOptions = {},
  type = `multipart/form-data; boundary=${BOUNDARY}`,
): Promise<{ parts: MultipartPart[]; dir: string }> {
  const dir = tmp.folder();
  await using root = await openRoot(dir);
  const parts: MultipartPart[] = [];
  const stream = body instanceof ReadableStream ? body : chunks(body, [65536]);
  for await (const part of multipart(request(stream, { "content-type": type }), root, options)) parts.push(part);
  return { parts, dir };
}

describe("multipart", () => {
  const content = Buffer.concat([
    patternBytes(200_000),
    Buffer.from(`\r\n--${BOUNDARY.slice(0, -1)}\r\n--`),
    patternBytes(1000),
  ]);
  const body = form([
    [field("title"), "Grüße\r\nzwei Zeilen"],
    [file("up", "photo.jpg"), content],
    [field("empty"), ""],
    [file("none", ""), ""],
    [field("last"), "x"],
  ]);

  test("fields and files, whatever the cuts", async () => {
    for (const sizes of [[65536], [1000, 1, 3], [7], [body.length]]) {
      const { parts, dir } = await parse(chunks(body, sizes));
      expect(parts.map((part) => [part.kind, part.name])).toEqual([
        ["field", "title"],
        ["file", "up"],
        ["field", "empty"],
        ["file", "none"],
        ["field", "last"],
      ]);
      const [title, up, empty, none] = parts as any[];
      expect([title.value, empty.value, up.filename, up.type, up.bytes, none.bytes]).toEqual([
        "Grüße\r\nzwei Zeilen",
        "",
        "photo.jpg",
        "application/x-test",
        content.length,
        0,
      ]);
      expect(readFileSync(join(dir, up.storedAs)).equals(content)).toBe(true);
      expect(up.storedAs).not.toContain("photo");
    }
  }, 60_000);

  test("is cut at every byte of a small form", async () => {
    const small = form([
      [field("a"), "1"],
      [file("f", "n"), "\r\n-\r\n--\r"],
      [field("b"), ""],
    ]);
    for (let at = 1; at < small.length; at++) {
      const { parts, dir } = await parse(chunks(small, [at, small.length]));
      expect(parts.length).toBe(3);
      expect(readFileSync(join(dir, (parts[1] as any).storedAs), "latin1")).toBe("\r\n-\r\n--\r");
    }
  });

  test("preamble, epilogue, blanks behind a boundary, quoted and odd boundaries, empty forms", async () => {
    const plain = form([[field("a"), "1"]]);
    const values = async (bytes: Buffer, type?: string): Promise<unknown[]> =>
      (await parse(bytes, {}, type)).parts.map((part) => (part as any).value);
    expect(await values(Buffer.concat([Buffer.from("preamble\r\n"), plain, Buffer.from("epilogue")]))).toEqual(["1"]);
    expect(await values(Buffer.from(plain.toString().replace(`${BOUNDARY}\r\n`, `${BOUNDARY} \t\r\n`)))).toEqual(["1"]);
    const odd = "a'()+_,-./:=? b";
    expect(
      await values(form([[field("a"), "1"]], odd), `multipart/form-data; charset=utf-8; boundary="${odd}"`),
    ).toEqual(["1"]);
    expect(await values(Buffer.from(`--${BOUNDARY}--\r\n`))).toEqual([]);
    expect(await values(Buffer.from(`--${BOUNDARY}--`))).toEqual([]);
  });

  test("file names are names: no folders, no control characters, all ways to quote them", async () => {
    const names: [string, string][] = [
      ['filename="../../etc/passwd"', "passwd"],
      ['filename="C:\\\\fake\\\\path.txt"', "path.txt"],
      ['filename=".."', ""],
      ['filename="a%22b.txt"', 'a"b.txt'],
      ['filename="q\\"uote.txt"', 'q"uote.txt'],
      ["filename=bare.txt", "bare.txt"],
      ["filename=\"x\"; filename*=UTF-8''gr%C3%BCn.txt", "grün.txt"],
      ['filename="evil\u202egpj.exe"', "evilgpj.exe"],
    ];
    for (const [given, expected] of names) {
      const { parts, dir } = await parse(form([[`Content-Disposition: form-data; name="f"; ${given}`, "x"]]));
      expect([given, (parts[0] as any).filename]).toEqual([given, expected]);
      expect(readdirSync(dir)).toEqual([(parts[0] as any).storedAs]);
    }
  });

  test("nameFor names beneath the root, and nowhere else; what is there is not replaced", async () => {
    const upload = form([[file("f", "name.txt"), "x"]]);
    const { dir } = await parse(upload, { nameFor: ({ filename }) => filename });
    expect(readdirSync(dir)).toEqual(["name.txt"]);
    for (const outside of ["../out", "/tmp/out", "a\0b"])
      expect([outside, await code(parse(upload, { nameFor: () => outside }))]).toEqual([outside, "ERR_OUTSIDE_ROOT"]);
    for (const none of [5, null, undefined, {}])
      expect(await code(parse(upload, { nameFor: () => none as never }))).toBe("ERR_INVALID_ARG_TYPE");
    for (const none of ["", "."]) expect(await code(parse(upload, { nameFor: () => none }))).not.toBe("resolved");
    const taken = form([
      [file("f", "a"), "1"],
      [file("f", "a"), "2"],
    ]);
    expect(await code(parse(taken, { nameFor: ({ filename }) => filename }))).toBe("EEXIST");
  });

  test("limits are 413, malformed forms 400, other types 415; nothing is left of a file that was cut", async () => {
    const outcome = async (promise: Promise<unknown>): Promise<number> =>
      promise.then(
        () => 200,
        (error) => error.status,
      );
    const many = form(Array.from({ length: 5 }, (_, i) => [field(`f${i}`), "12345"] as const));
    const files = form(Array.from({ length: 3 }, () => [file("f", "n"), "12345"] as const));
    for (const [bytes, limits] of [
      [many, { fields: 4 }],
      [many, { parts: 4 }],
      [many, { fieldBytes: 4 }],
      [many, { headerBytes: 10 }],
      [many, { bodyBytes: 100 }],
      [files, { files: 2 }],
      [files, { fileBytes: 4 }],
    ] as const)
      expect([limits, await outcome(parse(bytes, { limits }))]).toEqual([limits, 413]);
    expect(await outcome(parse(many, { limits: { fields: 5, fieldBytes: 5 } }))).toBe(200);
    for (const bytes of [
      "",
      "nothing",
      `--${BOUNDARY}`,
      `--${BOUNDARY}\r\n`,
      `--${BOUNDARY}x\r\n`,
      `--${BOUNDARY}\r\n\r\nno headers\r\n--${BOUNDARY}--`,
      `--${BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nx\r\n--${BOUNDARY}--`,
      `--${BOUNDARY}\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n--${BOUNDARY}--`,
      `--${BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--${BOUNDARY}--`,
      `--${BOUNDARY}\r\nnonsense\r\n\r\nx\r\n--${BOUNDARY}--`,
      `--${BOUNDARY}\r\n${field("a")}\r\n\r\ncut`,
      `--${BOUNDARY}\r\n${field("a")}\r\n\r\nx\r\n--${BOUNDARY}`,
    ])
      expect([bytes, await outcome(parse(Buffer.from(bytes)))]).toEqual([bytes, 400]);
    for (const type of ["text/plain", "multipart/mixed; boundary=a", "application/x-www-form-urlencoded"])
      expect(await outcome(parse(many, {}, type))).toBe(415);
    expect(await outcome(parse(many, {}, "multipart/form-data"))).toBe(400);
    const dir = tmp.folder();
    await using root = await openRoot(dir);
    writeFileSync(join(dir, "old"), "old");
    const cut = chunks(body.subarray(0, 150_000), [50_000], new Error("cut"));
    const reading = (async () => {
      for await (const _ of multipart(
        request(cut, { "content-type": `multipart/form-data; boundary=${BOUNDARY}` }),
        root,
      ));
    })();
    expect(await outcome(reading)).toBe(400);
    expect(readdirSync(dir)).toEqual(["old"]);
  });

  test("random forms, cut at random, come back as they were sent", async () => {
    let state = 12345;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state % below;
    };
    const alphabet = ["\r", "\n", "-", "--", `\r\n--${BOUNDARY.slice(0, 9)}`, "a", "\0", `--${BOUNDARY}`, "\r\n"];
    for (let round = 0; round < 150; round++) {
      const parts = Array.from({ length: random(6) }, (_, i) => {
        const text = Array.from({ length: random(40) }, () => alphabet[random(alphabet.length)]!)
          .join("")
          .replaceAll(`\r\n--${BOUNDARY}`, "x");
        return [
          random(2) === 0 ? field(`p${i}`) : file(`p${i}`, "n"),
          text.startsWith(`--${BOUNDARY}`) ? `_${text}` : text,
        ] as const;
      });
      const sizes = Array.from({ length: 5 }, () => 1 + random(random(2) === 0 ? 5 : 200));
      const { parts: found, dir } = await parse(chunks(form(parts), sizes));
      expect(
        found.map((part) => (part.kind === "field" ? part.value : readFileSync(join(dir, part.storedAs), "utf8"))),
      ).toEqual(parts.map(([, text]) => text));
    }
  }, 60_000);
});
