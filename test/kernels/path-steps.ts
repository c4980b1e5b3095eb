// The steps of the tour for functions of paths, and for what is not a function of files.

import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  at,
  codeOf,
  dir,
  equal,
  executable,
  fs,
  gathered,
  group,
  Skip,
  script,
  user,
  withFile,
  withXattr,
} from "./steps.ts";

export const pathSteps: Record<string, () => unknown> = {
  writeFile: async () => {
    await fs.writeFile(at("a"), "hello");
    equal(readFileSync(at("a"), "utf8"), "hello");
    const large = Buffer.alloc(4 << 20, 7);
    await fs.writeFile(at("large"), large, { flush: true });
    equal(readFileSync(at("large")).equals(large), true);
    await fs.writeFile(at("script"), script, { mode: 0o755 });
    executable(at("script"));
  },
  readFile: async () => {
    equal(await fs.readFile(at("a"), "utf8"), "hello");
    equal((await fs.readFile(at("large"))).length, 4 << 20);
    equal(await codeOf(fs.readFile(at("none"))), "ENOENT");
    equal((await fs.readFile("/proc/self/stat")).length > 0, true);
    await Promise.all(Array.from({ length: 64 }, (_, i) => fs.writeFile(at(`m${i}`), "x".repeat(i * 50))));
    const all = await Promise.all(Array.from({ length: 64 }, (_, i) => fs.readFile(at(`m${i}`))));
    for (const [i, content] of all.entries()) equal(content.length, i * 50);
  },
  appendFile: async () => {
    await fs.appendFile(at("script"), "# more\n");
    executable(at("script"));
  },
  readMany: async () => {
    const paths = Array.from({ length: 64 }, (_, i) => at(`m${i}`));
    for (const [i, one] of (await fs.readMany(paths)).entries())
      equal(one.status === "fulfilled" && one.value.length, i * 50);
  },
  statMany: async () => {
    const [one, none] = await fs.statMany([at("a"), at("none")]);
    equal([one!.status, none!.status], ["fulfilled", "rejected"]);
  },
  stat: async () => {
    equal((await fs.stat(at("a"))).size, 5);
    equal(await codeOf(fs.stat(at("none"))), "ENOENT");
  },
  lstat: async () => {
    equal((await fs.lstat(at("a"))).isFile(), true);
    const all = await Promise.all(Array.from({ length: 8 }, () => fs.lstat(at("a"))));
    equal(
      all.every((stats) => stats.size === 5),
      true,
    );
  },
  access: async () => equal(await codeOf(fs.access(at("none"))), "ENOENT"),
  chmod: async () => {
    await fs.chmod(at("a"), 0o640);
    equal(statSync(at("a")).mode & 0o777, 0o640);
  },
  chown: () => fs.chown(at("a"), user, group),
  lchown: () => fs.lchown(at("a"), user, group),
  // Linux has no mode of links: what is asked is that both implementations say the same.
  lchmod: async () => {
    const theirs = (await import("node:fs/promises")) as unknown as Record<"lchmod", typeof fs.lchmod>;
    if (typeof theirs.lchmod !== "function") throw new Skip("Bun has none");
    equal(await codeOf(fs.lchmod(at("a"), 0o640)), await codeOf(theirs.lchmod(at("a"), 0o640)));
  },
  utimes: async () => {
    await fs.utimes(at("a"), 1000, 2000);
    equal(statSync(at("a")).mtimeMs, 2_000_000);
  },
  lutimes: () => fs.lutimes(at("a"), 1000, 2000),
  truncate: async () => {
    await fs.truncate(at("m63"), 7);
    equal(statSync(at("m63")).size, 7);
  },
  copyFile: async () => {
    await fs.copyFile(at("a"), at("b"));
    equal(readFileSync(at("b"), "utf8"), "hello");
    await fs.copyFile(at("large"), at("large-copy"));
    equal(readFileSync(at("large-copy")).equals(readFileSync(at("large"))), true);
    await fs.copyFile(at("script"), at("script-copy"));
    executable(at("script-copy"));
  },
  mkdir: async () => {
    await fs.mkdir(at("s/t"), { recursive: true });
    await fs.mkdir(at("s/u"));
    equal(await codeOf(fs.mkdir(at("s/u"))), "EEXIST");
  },
  rename: async () => {
    await fs.rename(at("b"), at("s/b"));
    const code = await codeOf(fs.rename(at("a"), at("s/b"), { noReplace: true }));
    equal(["EEXIST", "ERR_FEATURE_UNAVAILABLE_ON_PLATFORM"].includes(String(code)), true);
  },
  link: async () => {
    await fs.link(at("s/b"), at("s/h"));
    equal(statSync(at("s/h")).nlink, 2);
  },
  symlink: async () => {
    await fs.symlink("b", at("s/l"));
    equal(await fs.readFile(at("s/l"), "utf8"), "hello");
  },
  readlink: async () => equal(await fs.readlink(at("s/l")), "b"),
  realpath: async () => equal(await fs.realpath(at("s/l")), at("s/b")),
  readdir: async () => equal((await fs.readdir(at("s"))).sort(), ["b", "h", "l", "t", "u"]),
  opendir: async () => equal((await gathered(await fs.opendir(at("s")))).length, 5),
  glob: async () => equal((await gathered(fs.glob("s/*", { cwd: dir }))).length, 5),
  statfs: async () => equal((await fs.statfs(dir)).bsize > 0, true),
  mkdtemp: async () => equal(statSync(await fs.mkdtemp(at("temp-"))).isDirectory(), true),
  mkdtempDisposable: async () => {
    const made = await fs.mkdtempDisposable(at("disposable-"));
    await fs.writeFile(join(made.path, "file"), "x");
    await made.remove();
    equal(await codeOf(fs.stat(made.path)), "ENOENT");
  },
  copyTree: async () => {
    equal((await fs.copyTree(dir, `${dir}-tree`)).files > 60, true);
    equal(await fs.readFile(`${dir}-tree/s/l`, "utf8"), "hello");
  },
  cp: async () => {
    await fs.cp(dir, `${dir}-cp`, { recursive: true });
    executable(`${dir}-cp/script`);
  },
  unlink: async () => {
    await fs.unlink(at("m1"));
    equal(await codeOf(fs.unlink(at("m1"))), "ENOENT");
  },
  rmdir: async () => {
    await fs.rmdir(at("s/u"));
    equal(await codeOf(fs.rmdir(at("s"))), "ENOTEMPTY");
  },
  rm: async () => {
    for (const end of ["-tree", "-cp"]) await fs.rm(dir + end, { recursive: true });
    equal(await codeOf(fs.stat(`${dir}-tree`)), "ENOENT");
    equal(await codeOf(fs.rm(at("none"))), "ENOENT");
  },
  watch: async () => {
    const seen = (async () => {
      for await (const event of fs.watch(dir)) return event.eventType;
      return null;
    })();
    for (let i = 0; i < 50 && Bun.peek.status(seen) === "pending"; i++) {
      writeFileSync(at(`watched-${i}`), "x");
      await Bun.sleep(20);
    }
    equal(typeof (await seen), "string");
  },
  setxattr: () => withXattr(() => fs.setxattr(at("a"), "user.tour", Buffer.from("w"))),
  getxattr: () => withXattr(async () => equal((await fs.getxattr(at("a"), "user.tour")).toString(), "v")),
  listxattr: () => withXattr(async () => equal((await fs.listxattr(at("a"))).includes("user.tour"), true)),
  removexattr: () =>
    withXattr(async () => {
      await fs.removexattr(at("a"), "user.tour");
      equal(await codeOf(fs.getxattr(at("a"), "user.tour")), "ENODATA");
    }),
  alignedBuffer: () => equal(fs.alignedBuffer(8192).length, 8192),
  BufferPool: async () => {
    using pool = new fs.BufferPool({ size: 4096, count: 2 });
    const lease = await pool.acquire();
    await withFile("pooled", "r", async (handle) => equal((await handle.read(lease.bytes, 0, 5, 0)).bytesRead, 5));
    lease.release();
  },
  Ring: async () => {
    if (fs.backend === "node") throw new Skip("there is no ring");
    const ring = fs.Ring.current();
    const { res } = await ring.submit({ opcode: fs.Opcode.NOP });
    equal(res, 0);
  },
  capabilities: () => {
    const found = { ...fs.capabilities().limits, ...fs.capabilities() } as Record<string, unknown>;
    for (const [name, wanted] of Object.entries(JSON.parse(process.env["EXPECT"] ?? "{}"))) {
      if (JSON.stringify(found[name]) === JSON.stringify(wanted)) continue;
      throw new Error(`${name} is ${JSON.stringify(found[name])} and not ${JSON.stringify(wanted)}`);
    }
  },
  stats: () => equal(fs.stats().submitted > 0, fs.backend === "io_uring"),
  open: async () => {
    equal(await codeOf(fs.open(at("none"))), "ENOENT");
    const handle = await fs.open(at("large"), "r", { direct: true }).catch((error: any) => {
      if (error.code === "EINVAL") throw new Skip("the file system has no O_DIRECT");
      throw error;
    });
    equal((await handle.read(Buffer.alloc(9000), 0, 9000, 100)).bytesRead, 9000);
    await handle.close();
  },
  shutdown: async () => {
    await fs.shutdown();
    equal(await fs.readFile(at("a"), "utf8"), "hello");
  },
};
