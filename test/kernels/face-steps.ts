// The steps of the tour for bun-uring/server and bun-uring/durable, over loopback where a server is needed.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { at, codeOf, durable, equal, executable, gathered, script, server } from "./steps.ts";

type Root = Awaited<ReturnType<typeof server.openRoot>>;

const page = "<p>hello</p>".repeat(20_000);

async function withRoot(work: (root: Root) => Promise<void>): Promise<void> {
  mkdirSync(at("root"), { recursive: true });
  writeFileSync(at("root/page.html"), page);
  const root = await server.openRoot(at("root"));
  try {
    await work(root);
  } finally {
    await root.close();
  }
}

/** What a server of these answers says to a request of its own. */
async function asked(
  fetchOf: (request: Request) => Response | Promise<Response>,
  path: string,
  init: RequestInit = {},
): Promise<Response> {
  const listening = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: fetchOf });
  try {
    const answer = await fetch(new URL(path, listening.url), init);
    return new Response(await answer.arrayBuffer(), answer);
  } finally {
    await listening.stop(true);
  }
}

async function textOf(answer: Response | Promise<Response>): Promise<string> {
  const { status } = await answer;
  equal(status, 200);
  return (await answer).text();
}

export const faceSteps: Record<string, () => unknown> = {
  "server.openRoot": () =>
    withRoot(async (root) => {
      await root.writeFile("b", "beneath");
      equal(await root.readFile("b", "utf8"), "beneath");
      await root.mkdir("sub/deep", { recursive: true });
      await root.rename("b", "sub/deep/c");
      equal((await root.stat("sub/deep/c")).size, 7);
      equal(await root.readdir("sub"), ["deep"]);
      await root.rm("sub", { recursive: true });
      equal(await root.exists("sub"), false);
    }),
  "server.Root": () => withRoot(async (root) => equal(root instanceof server.Root, true)),
  "server.OutsideRootError": () =>
    withRoot(async (root) => {
      const error = await root.readFile("../a").catch((reason) => reason);
      equal(error instanceof server.OutsideRootError, true);
    }),
  "server.serveFile": () =>
    withRoot(async (root) => {
      const serve = (request: Request) => server.serveFile(request, root);
      equal((await textOf(asked(serve, "/page.html"))) === page, true);
      const part = await asked(serve, "/page.html", { headers: { Range: "bytes=3-7" } });
      equal([part.status, await part.text()], [206, page.slice(3, 8)]);
      equal((await asked(serve, "/none")).status, 404);
    }),
  "server.staticRoutes": async () => {
    const routes = await server.staticRoutes(at("root"));
    const listening = Bun.serve({ port: 0, hostname: "127.0.0.1", routes, fetch: () => new Response("none") });
    equal((await textOf(fetch(new URL("/page.html", listening.url)))) === page, true);
    await listening.stop(true);
    await routes.close();
  },
  "server.serveStatic": () =>
    withRoot(async (root) => {
      const handler = server.serveStatic(root);
      const answer = async (request: Request): Promise<Response> =>
        (await handler({ req: { raw: request } }, async () => {})) ?? new Response("next");
      equal((await textOf(asked(answer, "/page.html"))) === page, true);
    }),
  "server.serveElysia": () =>
    withRoot(async (root) => {
      const handler = server.serveElysia(root);
      equal((await textOf(asked((request) => handler({ request }), "/page.html"))) === page, true);
    }),
  "server.serveNode": () =>
    withRoot(async (root) => {
      const listening = createServer(server.serveNode(root));
      await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));
      const { port } = listening.address() as { port: number };
      equal((await textOf(fetch(`http://127.0.0.1:${port}/page.html`))) === page, true);
      listening.closeAllConnections();
      listening.close();
    }),
  "server.receive": () =>
    withRoot(async (root) => {
      const body = Buffer.alloc(3 << 20, "upload");
      const take = async (request: Request): Promise<Response> => {
        const { bytes, hash } = await server.receive(request, { root, name: "taken" }, { hash: "sha256" });
        return Response.json({ bytes, hash });
      };
      const said = (await (await asked(take, "/", { method: "PUT", body })).json()) as { bytes: number; hash: string };
      equal(said, { bytes: body.length, hash: new Bun.CryptoHasher("sha256").update(body).digest("hex") });
      equal((await root.readFile("taken")).equals(body), true);
    }),
  "server.ReceiveError": () =>
    withRoot(async (root) => {
      const request = new Request("http://here/", { method: "PUT", body: "too long" });
      const error = await server.receive(request, { root, name: "x" }, { maxBytes: 3 }).catch((reason) => reason);
      equal(error instanceof server.ReceiveError, true);
    }),
  "server.multipart": () =>
    withRoot(async (root) => {
      const body = new FormData();
      body.set("name", "value");
      body.set("file", new File([page], "page.html"));
      const parts = await gathered(server.multipart(new Request("http://here/", { method: "POST", body }), root));
      equal(parts.length, 2);
    }),
  "server.file": async () => {
    equal((await server.file(at("root/page.html")).text()) === page, true);
    equal(await server.file(at("root/page.html")).slice(3, 8).text(), page.slice(3, 8));
    equal(await server.file(at("none")).exists(), false);
  },
  "server.UringFile": () => equal(server.file(at("a")) instanceof server.UringFile, true),
  "server.FileWriter": async () => {
    const writer = server.file(at("written")).writer();
    equal(writer instanceof server.FileWriter, true);
    for (let i = 0; i < 100; i++) await writer.write(page.slice(0, 100));
    equal(await writer.end(), 10_000);
  },
  "server.write": async () => {
    equal(await server.write(at("written"), page), page.length);
    equal(await server.write(at("written2"), server.file(at("written")), { atomic: true }), page.length);
    equal(readFileSync(at("written2"), "utf8") === page, true);
  },
  "durable.writeFileAtomic": async () => {
    for (const durability of ["none", "data", "full"] as const)
      await durable.writeFileAtomic(at("atomic"), script, { mode: 0o755, durability });
    executable(at("atomic"));
    equal(await codeOf(durable.writeFileAtomic(at("none/atomic"), "x")), "ENOENT");
  },
  "durable.AppendLog": async () => {
    const log = await durable.AppendLog.open(at("log"));
    equal(log instanceof durable.AppendLog, true);
    await Promise.all(Array.from({ length: 50 }, (_, i) => log.append(`record ${i}`)));
    await log.close();
  },
  "durable.readLog": async () => equal((await gathered(durable.readLog(at("log")))).length, 50),
  "durable.tailLog": async () => {
    for await (const _ of durable.tailLog(at("log"))) break;
  },
  "durable.sweepTemp": async () => equal(await durable.sweepTemp(at("root")), 0),
  "durable.lock": async () => {
    await using first = await durable.lock(at("locked"), { wait: false });
    equal(first.exclusive, true);
  },
};
