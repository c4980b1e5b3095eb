// Forms as no browser sends them: hostile headers, boundaries that are nearly some, cuts at every byte, bytes changed at random. What
// busboy's and multipart-parser's bug reports and tests know, re-made; what is wrong is a 400 or 413, never another error, never a wait.
// Assumes a folder. The full numbers take BUN_URING_SLOW; SEED repeats one run.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  type MultipartLimits,
  type MultipartOptions,
  type MultipartPart,
  multipart,
  openRoot,
  type Root,
} from "../../src/server.ts";
import { scratch } from "../helpers/tmp.ts";

const tmp = scratch();
const SLOW = process.env.BUN_URING_SLOW === "1";
const SEED = Number(process.env.SEED ?? 4);
const TYPE = "multipart/form-data; boundary=b";

/** A body in the given chunks. */
const streamOf = (chunks: Uint8Array[]): ReadableStream<Uint8Array> => {
  let at = 0;
  return new ReadableStream(
    {
      pull(controller) {
        if (at < chunks.length) controller.enqueue(chunks[at++]!);
        else controller.close();
      },
    },
    { highWaterMark: 0 },
  );
};
const bytesOf = (text: string): Buffer => Buffer.from(text, "latin1");

interface Parsed {
  parts: MultipartPart[];
  /** Content of each part, latin1. */
  contents: string[];
}

async function parseIn(
  root: Root,
  dir: string,
  chunks: Uint8Array[],
  options: MultipartOptions = {},
  type: string = TYPE,
): Promise<Parsed> {
  const request = new Request("http://x/", {
    method: "POST",
    body: streamOf(chunks),
    headers: { "content-type": type },
  });
  const parts: MultipartPart[] = [];
  const contents: string[] = [];
  for await (const part of multipart(request, root, options)) {
    parts.push(part);
    if (part.kind === "field") contents.push(part.value);
    else {
      contents.push(readFileSync(join(dir, part.storedAs), "latin1"));
      await root.unlink(part.storedAs);
    }
  }
  return { parts, contents };
}

async function parse(body: string | Uint8Array, limits: MultipartLimits = {}, type?: string): Promise<Parsed> {
  const dir = tmp.folder();
  await using root = await openRoot(dir);
  try {
    return await parseIn(root, dir, [typeof body === "string" ? bytesOf(body) : body], { limits }, type);
  } finally {
    expect(readdirSync(dir)).toEqual([]);
  }
}
const status = (promise: Promise<unknown>): Promise<number> =>
  promise.then(
    () => 200,
    (error) => error.status ?? String(error),
  );
const part = (headers: string, content = "x"): string =>
  `--b\r\n${headers.replaceAll("\n", "\r\n")}\r\n\r\n${content}\r\n--b--\r\n`;

describe("headers of a part", () => {
  const named: [headers: string, name: string, filename?: string][] = [
    ['Content-Disposition: form-data; name="a"', "a"],
    ['CONTENT-DISPOSITION: Form-Data; NAME="a"', "a"],
    ["Content-Disposition:form-data;name=a", "a"],
    ['Content-Disposition: form-data ;\tname = "a" ', "a"],
    ['Content-Disposition: form-data;\n name="a";\n\tfilename="f"', "a", "f"],
    ['X-Other: 1\nContent-Disposition: form-data; name="a"\nContent-Transfer-Encoding: base64', "a"],
    ['Content-Disposition: form-data; name=""', ""],
    ['Content-Disposition: form-data; name="__proto__"', "__proto__"],
    ['Content-Disposition: form-data; name="a"; name="b"', "a"],
    ['Content-Disposition: form-data; name="a"\nContent-Disposition: form-data; name="b"', "a"],
    ['Content-Disposition: form-data; name="a";', "a"],
    ['Content-Disposition: form-data;; name="a"', "a"],
    // What stands in quotes is no parameter.
    ['Content-Disposition: form-data; filename="; name=evil"; name="a"', "a", "; name=evil"],
    ['Content-Disposition: form-data; x="; name=evil; filename=evil"; name="a"', "a"],
    ['Content-Disposition: form-data; name="a; filename=evil"', "a; filename=evil"],
    ['Content-Disposition: form-data; xname="evil"; name="a"', "a"],
    ['Content-Disposition: form-data; name="a"; filename="x;y.txt"', "a", "x;y.txt"],
    ['Content-Disposition: form-data; name="a"; filename="say \\"hi\\".txt"', "a", 'say "hi".txt'],
    ['Content-Disposition: form-data; name="a"; filename="say %22hi%22.txt"', "a", 'say "hi".txt'],
    ['Content-Disposition: form-data; filename="ends\\"; name="a"', "a", ""],
    ['Content-Disposition: form-data; name="a"; filename="50%.txt"', "a", "50%.txt"],
    ['Content-Disposition: form-data; name="a"; filename=""', "a", ""],
    ['Content-Disposition: form-data; name="a"; filename=', "a", ""],
    ['Content-Disposition: form-data; name="a"; filename="/etc/passwd"', "a", "passwd"],
    ['Content-Disposition: form-data; name="a"; filename="..\\..\\x"', "a", "x"],
    ['Content-Disposition: form-data; name="a"; filename="dir/.."', "a", ""],
    ["Content-Disposition: form-data; name=a; filename*=UTF-8''%e2%82%ac.txt", "a", "€.txt"],
    ["Content-Disposition: form-data; name=a; filename=x; filename*=utf-8'de'%2e%2e%2F%2e%2e%2Fy", "a", "y"],
    ["Content-Disposition: form-data; name=a; filename*=iso-8859-1'en'%A3.txt", "a", "£.txt"],
    ["Content-Disposition: form-data; name=a; filename=x; filename*=UTF-8''%ff", "a", "x"],
    ["Content-Disposition: form-data; name=a; filename*=koi8-r''x", "a", ""],
    ["Content-Disposition: form-data; name=a; filename*=UTF-8''a%00b%0d%0ac", "a", "abc"],
  ];
  for (const [headers, name, filename] of named)
    test(JSON.stringify(headers), async () => {
      const { parts, contents } = await parse(part(headers));
      expect([parts.length, parts[0]!.name, (parts[0] as any).filename]).toEqual([1, name, filename]);
      expect(contents).toEqual(["x"]);
    });

  const wrong = [
    'Content-Disposition form-data; name="a"',
    ': form-data; name="a"',
    'Content Disposition: form-data; name="a"',
    'Content-Disposition : form-data; name="a"',
    ' Content-Disposition: form-data; name="a"',
    'Content-Disposition: form-data; name="a',
    'Content-Disposition: form-data; name="a"b',
    'Content-Disposition: form-data; "a"',
    "Content-Disposition: form-data; filename=x",
    "Content-Disposition: form-datax; name=a",
    'Content-Type: text/plain; name="a"',
    'Content-Disposition: form-data; name="a\0"',
    'Content-Disposition: form-data; name="a"\n\0: b',
  ];
  for (const headers of wrong)
    test(`${JSON.stringify(headers)} is refused`, async () => expect(await status(parse(part(headers)))).toBe(400));

  test("a line's end that is none is refused wherever it stands", async () => {
    const good = part('Content-Disposition: form-data; name="a"; filename="f"\nContent-Type: text/plain');
    for (const text of [
      good.replace("text/plain", "text/plain\nX-Evil: 1"),
      good.replace("text/plain", "text/plain\rX-Evil: 1"),
      good.replace('name="a"', 'name="a\nb"'),
      good.replaceAll("\r\n", "\n"),
      good.replace("--b\r\n", "--b\n"),
      good.replace("--b\r\n", "--b\r"),
    ])
      expect([text, await status(parse(text))]).toEqual([text, 400]);
  });

  test("a name as long as the headers may be is taken or refused at once, as a name for a file it is cut to 255 bytes", async () => {
    const headers = (length: number): string =>
      `Content-Disposition: form-data; name=a; filename="${"ä".repeat(length)}"`;
    const utf8 = (text: string): Uint8Array => Buffer.from(part(text));
    const { parts } = await parse(utf8(headers(4000)));
    expect((parts[0] as any).filename).toBe("ä".repeat(127));
    expect(await status(parse(utf8(headers(9000))))).toBe(413);
    for (const evil of ['";'.repeat(8000), "\\".repeat(16_000), "; a".repeat(5000), " =".repeat(8000)])
      expect([400, 413]).toContain(await status(parse(part(`Content-Disposition: form-data; name="${evil}`))));
  });

  test("the limit of the headers is met exactly", async () => {
    const headers = 'Content-Disposition: form-data; name="a"';
    expect(await status(parse(part(headers), { headerBytes: headers.length }))).toBe(200);
    expect(await status(parse(part(headers), { headerBytes: headers.length - 1 }))).toBe(413);
  });

  test("letters that change how a name is read are left out", async () => {
    const name = "a\u202eb\u2066c\u200bd\ufeffe\u0085f\u2028g";
    const body = Buffer.from(part(`Content-Disposition: form-data; name=a; filename="${name}"`));
    expect(((await parse(body)).parts[0] as any).filename).toBe("abcdefg");
  });
});

describe("boundaries", () => {
  const field = (content: string): string => part('Content-Disposition: form-data; name="a"', content);

  test("what is nearly one is content", async () => {
    for (const content of [
      "-",
      "\r\n-",
      "\r\n--",
      "\r\n--a",
      "\r--b",
      "\n--b",
      "x--b--",
      "\r\n\r\n",
      "\r\n --b",
      "\r\r\n-\r\n--\r\n",
      "\r\n--\r\n--B\r\n",
    ])
      expect((await parse(field(content))).contents).toEqual([content]);
  });

  test("of the Content-Type: quoted, among others, as long as they may be, and not within another's quotes", async () => {
    const as = (boundary: string): string => field("1").replaceAll("--b", `--${boundary}`);
    const long = "x".repeat(70);
    for (const [boundary, type] of [
      ["b", 'multipart/form-data; boundary="b"'],
      ["b", "Multipart/Form-Data;BOUNDARY=b"],
      ["b", 'multipart/form-data; x="; boundary=evil"; boundary=b'],
      ["b", "multipart/form-data; boundary=b; boundary=evil"],
      ["b", "multipart/form-data; charset=utf-8; boundary=b; x=y"],
      ["a;b", 'multipart/form-data; boundary="a;b"'],
      ["--", "multipart/form-data; boundary=--"],
      ["=", "multipart/form-data; boundary=="],
      [long, `multipart/form-data; boundary=${long}`],
    ] as const)
      expect([type, (await parse(as(boundary), {}, type)).contents]).toEqual([type, ["1"]]);
    for (const type of [
      "multipart/form-data",
      "multipart/form-data; boundary=",
      'multipart/form-data; boundary=""',
      'multipart/form-data; boundary="b ',
      'multipart/form-data; boundary="b "',
      `multipart/form-data; boundary=x${long}`,
      'multipart/form-data; xboundary=b; x="boundary=b"',
    ])
      expect([type, await status(parse(as("b"), {}, type))]).toEqual([type, 400]);
    for (const type of ["multipart/form-datax; boundary=b", "multipart/mixed; boundary=b", "text/plain"])
      expect([type, await status(parse(as("b"), {}, type))]).toEqual([type, 415]);
  });

  test("what stands before the first, behind one and behind the last has its limit", async () => {
    const limits = { headerBytes: 100 };
    expect((await parse(`x --b\r\n--c\r\n${field("1")}`, limits)).contents).toEqual(["1"]);
    expect(await status(parse(`${"x".repeat(200)}\r\n${field("1")}`, limits))).toBe(400);
    const blanks = (count: number): string => field("1").replace("--b\r\n", `--b${" ".repeat(count)}\r\n`);
    expect(await status(parse(blanks(90), limits))).toBe(200);
    expect(await status(parse(blanks(200), limits))).toBe(400);
    expect((await parse(field("1") + "x".repeat(1_000_000), limits)).contents).toEqual(["1"]);
  });

  test("blanks without end, a byte at a time, end at the limit", async () => {
    const dir = tmp.folder();
    await using root = await openRoot(dir);
    let sent = 0;
    const body = new ReadableStream({
      pull(controller) {
        controller.enqueue(bytesOf(sent++ === 0 ? "--b" : " "));
      },
    });
    const request = new Request("http://x/", { method: "POST", body, headers: { "content-type": TYPE } });
    const reading = (async () => {
      for await (const _ of multipart(request, root, { limits: { headerBytes: 1000 } }));
    })();
    expect(await status(reading)).toBe(400);
    expect(sent).toBeLessThan(1100);
  });
});

describe("who asks", () => {
  test("a form that was announced too long is refused before a byte is read; one that was read already is a mistake", async () => {
    await using root = await openRoot(tmp.folder());
    const request = new Request("http://x/", {
      method: "POST",
      body: "x",
      headers: { "content-type": TYPE, "content-length": "1000" },
    });
    expect(await status(multipart(request, root, { limits: { bodyBytes: 999 } }).next())).toBe(413);
    expect(request.bodyUsed).toBe(false);
    await request.text();
    await expect(multipart(request, root).next()).rejects.toMatchObject({ code: "ERR_BODY_ALREADY_USED" });
    for (const options of [
      { limits: 1 },
      { limits: null },
      { limits: { files: 1.5 } },
      { nameFor: 1 },
      { durability: "some" },
      { signal: {} },
    ]) {
      const fresh = new Request("http://x/", { method: "POST", body: "x", headers: { "content-type": TYPE } });
      const error: any = await multipart(fresh, root, options as never)
        .next()
        .catch((e) => e);
      expect(error.code).toStartWith("ERR_");
      expect(fresh.bodyUsed).toBe(false);
    }
  });

  test("an abort ends a form whose client is silent, and lets go of the body", async () => {
    const dir = tmp.folder();
    await using root = await openRoot(dir);
    for (const begun of [
      "",
      "--b\r\nContent-",
      '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n12',
      '--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n12',
      "--b--",
    ]) {
      const { promise: cancelled, resolve } = Promise.withResolvers<void>();
      const body = new ReadableStream({
        start: (controller) => controller.enqueue(bytesOf(begun)),
        pull: () => new Promise(() => {}),
        cancel: () => resolve(),
      });
      const request = new Request("http://x/", { method: "POST", body, headers: { "content-type": TYPE } });
      const controller = new AbortController();
      const form = multipart(request, root, { signal: controller.signal }).next();
      setTimeout(() => controller.abort(new Error("mine")), 5);
      await expect(form).rejects.toMatchObject({ code: "ABORT_ERR" });
      await cancelled;
    }
    expect(readdirSync(dir)).toEqual([]);
  });

  test("a stream that gives anything but bytes is a mistake, and leaves nothing", async () => {
    const dir = tmp.folder();
    await using root = await openRoot(dir);
    const head = '--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n';
    await expect(parseIn(root, dir, [bytesOf(head), "text" as never])).rejects.toMatchObject({
      code: "ERR_INVALID_ARG_TYPE",
    });
    expect(readdirSync(dir)).toEqual([]);
  });
});

describe(`at random (seed ${SEED})`, () => {
  let state = SEED;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const bits = ["\r", "\n", "-", "--", "\r\n--", "\r\n--b".slice(0, 4), "b", "a", "\0", "\xff", "\r\n", "--b"];
  const content = (): string =>
    Array.from({ length: random(12) }, () => bits[random(bits.length)]!)
      .join("")
      .replaceAll("\r\n--b", "\r\n-b")
      .replace(/^--b/, "b");
  const form = (): { body: Buffer; contents: string[] } => {
    const contents = Array.from({ length: 1 + random(4) }, content);
    const body = contents
      .map((text, i) => {
        const name = random(3) > 0 ? `a${i}` : `a${i}"; filename="f`;
        return `--b\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${text}\r\n`;
      })
      .join("");
    return { body: bytesOf(`${body}--b--\r\n`), contents };
  };
  /** Fields come as UTF-8, which these bytes are not all. */
  const asText = (text: string): string => Buffer.from(text, "latin1").toString();

  test("forms cut at every byte come back as they were sent", async () => {
    const dir = tmp.folder();
    await using root = await openRoot(dir);
    for (let round = 0; round < (SLOW ? 100 : 8); round++) {
      const { body, contents } = form();
      for (let at = 0; at <= body.length; at++) {
        const found = await parseIn(root, dir, [body.subarray(0, at), body.subarray(at)]);
        const expected = contents.map((text, i) => (found.parts[i]?.kind === "file" ? text : asText(text)));
        expect([at, found.contents]).toEqual([at, expected]);
      }
      const bytewise = await parseIn(
        root,
        dir,
        Array.from(body, (byte) => Uint8Array.of(byte)),
      );
      expect(bytewise.parts.length).toBe(contents.length);
    }
    expect(readdirSync(dir)).toEqual([]);
  }, 240_000);

  test("with bytes changed, left out and put in they are taken or refused, and leave nothing", async () => {
    const dir = tmp.folder();
    await using root = await openRoot(dir);
    const statuses = new Set<number>();
    for (let round = 0; round < (SLOW ? 20_000 : 600); round++) {
      const { body } = form();
      const bytes = [...body];
      for (let i = 0; i <= random(4); i++) {
        const at = random(bytes.length);
        const byte = bytesOf(bits[random(bits.length)]!)[0]!;
        bytes.splice(at, random(2), ...(random(3) === 0 ? [] : [byte]));
      }
      const outcome = await status(parseIn(root, dir, [Buffer.from(bytes)]));
      statuses.add(outcome);
      expect([200, 400, 413]).toContain(outcome);
    }
    expect(statuses.has(200) && statuses.has(400)).toBe(true);
    for (const name of readdirSync(dir)) expect(name).not.toStartWith(".bun-uring-"); // a whole file of a form that broke stays
  }, 240_000);
});
