// Owns what Bun's own FileHandle methods (writer, pullSync) do to a handle that they are to close.
// Assumes Bun's functions themselves; only how they end, and what is open then, is tested.

import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { forEachImplementation } from "../helpers/backends.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

forEachImplementation((fs, _name, it) => {
  const tmp = scratch();
  const data = patternBytes(1_000_003, 21);

  const writerEnds: Record<string, (writer: any) => unknown> = {
    "end()": (writer) => writer.end(),
    "endSync()": (writer) => writer.endSync(),
    "fail()": (writer) => writer.fail(new Error("stop")),
    "await using": async (writer) => {
      await using _ = writer;
    },
    using: (writer) => {
      using _ = writer;
    },
  };
  for (const [title, end] of Object.entries(writerEnds)) {
    it(`writer({ autoClose: true }) closes its file: ${title}`, async () => {
      const path = tmp.path();
      const handle: any = await fs.open(path, "w");
      let closes = 0;
      handle.on("close", () => closes++);
      const writer = handle.writer({ autoClose: true });
      await writer.write(Buffer.from("content"));
      await end(writer);
      await handle.close();
      expect({ fd: handle.fd, closes, text: readFileSync(path, "utf8"), open: tmp.openFiles() }).toEqual({
        fd: -1,
        closes: 1,
        text: "content",
        open: [],
      });
    });
  }

  it("pullSync({ autoClose: true }) closes its file, at the end, left early and after an error", async () => {
    for (const ending of ["end", "break", "error"]) {
      const handle: any = await fs.open(ending === "error" ? tmp.folder() : tmp.file(data));
      let bytes = 0;
      try {
        for (const batch of handle.pullSync({ autoClose: true, chunkSize: 100_000 })) {
          for (const chunk of batch) bytes += chunk.length;
          if (ending === "break") break;
        }
      } catch (error: any) {
        expect([ending, error.code]).toEqual(["error", "EISDIR"]);
      }
      expect(bytes).toBe({ end: data.length, break: 100_000, error: 0 }[ending]!);
      expect([handle.fd, tmp.openFiles()]).toEqual([-1, []]);
      await handle.close();
    }
  });

  it("a writer's end while the handle is being closed or reads, and its second end", async () => {
    const handle: any = await fs.open(tmp.file("abc"), "r+");
    const writer = handle.writer({ autoClose: true });
    writer.writeSync(Buffer.from("x"));
    const read = handle.read(Buffer.alloc(3), 0, 3, 0);
    writer.endSync();
    writer.endSync();
    writer.fail();
    await read.catch(() => {});
    await handle.close();
    expect([handle.fd, tmp.openFiles()]).toEqual([-1, []]);
  });
}, "writer-pull");
