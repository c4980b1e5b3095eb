// Headless Chromium over its DevTools protocol: opens a page, runs expressions in it, gives files to it, takes pictures.
// Assumes Debian's `chromium` in the PATH, or CHROMIUM. Its profile is a folder of the caller's; ends with the test.

import { join } from "node:path";
import { readLines } from "./lines.ts";

export const chromiumPath: string | null =
  process.env.CHROMIUM ?? Bun.which("chromium") ?? Bun.which("chromium-browser");

export interface Page extends AsyncDisposable {
  /** The value of an expression in the page, awaited where it is a promise. */
  evaluate<T>(expression: string): Promise<T>;
  /** Waits until an expression is true in the page. */
  until(expression: string): Promise<void>;
  /** Gives files to an <input type="file">. */
  choose(selector: string, files: string[]): Promise<void>;
  screenshot(path: string): Promise<void>;
  /** Any method of the protocol. */
  send(method: string, params?: Record<string, unknown>): Promise<any>;
}

const LOOK_MS = 50;

export async function openPage(url: string, profile: string, size: [number, number] = [800, 500]): Promise<Page> {
  const flags = [
    "--headless=new",
    "--no-sandbox", // the tests' containers run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--mute-audio",
    "--remote-debugging-port=0",
    `--user-data-dir=${join(profile, "profile")}`,
    `--window-size=${size.join(",")}`,
  ];
  const child = Bun.spawn([chromiumPath!, ...flags, "about:blank"], { stdout: "ignore", stderr: "pipe" });
  const line = await readLines(child.stderr).until((text) => text.startsWith("DevTools listening on "));
  if (line === null) throw new Error(`chromium ended with ${await child.exited}`);
  const { host } = new URL(line.slice("DevTools listening on ".length));
  const targets = (await (await fetch(`http://${host}/json/list`)).json()) as any[];
  const socket = new WebSocket(targets.find(({ type }) => type === "page").webSocketDebuggerUrl);
  const waiting = new Map<number, { resolve: (value: any) => void; reject: (error: Error) => void }>();
  let last = 0;
  socket.onmessage = ({ data }) => {
    const { id, result, error } = JSON.parse(String(data));
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (error) waiter?.reject(new Error(error.message));
    else waiter?.resolve(result);
  };
  socket.onclose = () => {
    for (const { reject } of waiting.values()) reject(new Error("chromium has gone"));
  };
  await new Promise((resolve) => {
    socket.onopen = resolve;
  });
  const send = (method: string, params: Record<string, unknown> = {}): Promise<any> =>
    new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      socket.send(JSON.stringify({ id: last, method, params }));
    });
  const page: Page = {
    send,
    async evaluate(expression) {
      const { result, exceptionDetails } = await send("Runtime.evaluate", {
        expression,
        awaitPromise: true,
        returnByValue: true,
        userGesture: true,
      });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    },
    async until(expression) {
      while (!(await page.evaluate(expression))) await Bun.sleep(LOOK_MS);
    },
    async choose(selector, files) {
      const { root } = await send("DOM.getDocument");
      const { nodeId } = await send("DOM.querySelector", { nodeId: root.nodeId, selector });
      await send("DOM.setFileInputFiles", { nodeId, files });
    },
    async screenshot(path) {
      const { data } = await send("Page.captureScreenshot", { format: "png" });
      await Bun.write(path, Buffer.from(data, "base64"));
    },
    async [Symbol.asyncDispose]() {
      socket.close();
      child.kill("SIGKILL");
      await child.exited;
    },
  };
  await send("Page.enable");
  await send("Emulation.setDeviceMetricsOverride", {
    width: size[0],
    height: size[1],
    deviceScaleFactor: 1,
    mobile: false,
  });
  await send("Page.navigate", { url });
  await page.until(`location.href.startsWith(${JSON.stringify(url)}) && document.readyState === "complete"`);
  return page;
}
