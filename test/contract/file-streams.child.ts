// Owns the cases of file-streams.test.ts in which a listener throws: the process's own uncaughtException is looked at.

import type * as nodeFs from "node:fs";
import { runCases } from "../helpers/cases.ts";

type Streams = Pick<typeof nodeFs, "createReadStream" | "createWriteStream">;

const seen: string[] = [];
process.on("uncaughtException", (error) => seen.push(`uncaughtException: ${error.message}`));
process.on("unhandledRejection", (error: any) => seen.push(`unhandledRejection: ${error.message}`));

const thrower = (message: string) => (): never => {
  throw new Error(message);
};
const once = (stream: any, event: string): Promise<void> =>
  new Promise((resolve) => stream.once(event, () => resolve()));

await runCases({
  async throwing({ module, promises, path }: { module: string; promises: string; path: string }) {
    const handles = await import(promises);
    const { createReadStream, createWriteStream }: Streams = await import(module);
    const streams: Record<string, () => Promise<any>> = {
      read: async () => createReadStream(path),
      "handle's read": async () => (await handles.open(path)).createReadStream(),
    };
    for (const [name, make] of Object.entries(streams)) {
      for (const event of ["data", "end", "close"]) {
        const stream = await make();
        const thrown = new Promise<void>((resolve) => {
          stream.once(event, () => {
            setImmediate(resolve);
            thrower(`${name} ${event}`)();
          });
        });
        if (event !== "data") stream.resume();
        await thrown;
        stream.destroy();
      }
    }
    const targets: Record<string, () => Promise<any>> = {
      write: async () => createWriteStream(`${path}-out`),
      "handle's write": async () => (await handles.open(`${path}-out`, "w")).createWriteStream(),
    };
    for (const [name, make] of Object.entries(targets)) {
      const stream = await make();
      const closed = once(stream, "close");
      const thrown = new Promise<void>((resolve) => {
        stream.write("x", () => {
          setImmediate(resolve);
          thrower(`${name} callback`)();
        });
      });
      await thrown;
      stream.destroy();
      await closed;
    }
    return seen;
  },
});
