// One large copy with progress, which Ctrl-C ends cleanly: the half-written target is removed.
// Run it: bun examples/copy.ts SOURCE DESTINATION. Overwrites the destination.

import { copyFile } from "../src/index.ts";

const [source, destination] = process.argv.slice(2);
if (source === undefined || destination === undefined)
  throw new Error("usage: bun examples/copy.ts SOURCE DESTINATION");

const controller = new AbortController();
process.on("SIGINT", () => controller.abort(new Error("Ctrl-C")));

let shown = -1;
await copyFile(source, destination, {
  signal: controller.signal,
  onProgress({ bytesCopied, totalBytes }) {
    const percent = totalBytes === 0 ? 100 : Math.floor((100 * bytesCopied) / totalBytes);
    if (percent >= shown + 10) console.log(`${percent} %`);
    if (percent >= shown + 10) shown = percent;
  },
});
