// A small job for each of a dozen published packages, done as a program would that knows nothing of this one.
// usage: bun --preload ./in-place.mjs jobs.mjs NAME FOLDER. Prints one JSON line: milliseconds, processor time, and a digest of what
// came out, which must not depend on whose node:fs/promises it was. In a copy of this folder, beside its node_modules.

import { createHash } from "node:crypto";
import fs from "node:fs";
import fsp from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

const [name, dir] = process.argv.slice(2);
const modules = join(import.meta.dirname, "node_modules");
const digest = (value) => createHash("sha256").update(value).digest("hex").slice(0, 16);
/** The same bytes each time. */
const bytes = (length, seed) => Buffer.alloc(length, digest(String(seed)));

/** Paths, modes and contents of a tree. */
function tree(root) {
  const found = [];
  for (const entry of fs.readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const content = entry.isFile() ? digest(fs.readFileSync(path)) : "";
    found.push(`${path.slice(root.length)} ${(fs.lstatSync(path).mode & 0o777).toString(8)} ${content}`);
  }
  return found.sort().join("\n");
}

/** `count` calls, some at a time. */
async function inLanes(lanes, count, call) {
  let next = 0;
  const lane = async () => {
    while (next < count) await call(next++);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

const jobs = {
  async "@fastify/static"() {
    const app = (await import("fastify")).default();
    fs.writeFileSync(join(dir, "page"), bytes(5000, 1));
    await app.register((await import("@fastify/static")).default, { root: dir });
    app.get("/handle", async (_, reply) => reply.send((await fsp.open(join(dir, "page"))).createReadStream()));
    const said = [];
    for (let i = 0; i < 300; i++) {
      const { statusCode, rawPayload } = await app.inject(i % 3 === 0 ? "/page" : "/handle");
      said.push(statusCode, rawPayload.length);
    }
    await app.close();
    return said.join();
  },
  async "@npmcli/fs"() {
    const { cp, moveFile, withTempDir } = (await import("@npmcli/fs")).default;
    await cp(join(modules, "fastify"), join(dir, "copy"), { recursive: true });
    await moveFile(join(dir, "copy"), join(dir, "deep/moved"));
    await withTempDir(dir, (path) => fsp.writeFile(join(path, "x"), "x"));
    return tree(dir);
  },
  async cacache() {
    const cacache = (await import("cacache")).default;
    await inLanes(8, 200, (i) => cacache.put(dir, `key ${i}`, bytes(1000 + 50 * i, i)));
    const got = [];
    for (let i = 0; i < 200; i++) got.push((await cacache.get(dir, `key ${i}`)).integrity);
    return got.join();
  },
  async cpy() {
    await (await import("cpy")).default(["**/*.js"], join(dir, "out"), { cwd: join(modules, "fastify") });
    return tree(dir);
  },
  async "csv-parse"() {
    const { parse } = await import("csv-parse");
    const lines = Array.from({ length: 20_000 }, (_, i) => `${i},"name ${i}",${i * 7}`);
    await fsp.writeFile(join(dir, "table"), lines.join("\n"));
    let sum = 0;
    const rows = (await fsp.open(join(dir, "table"))).createReadStream().pipe(parse());
    for await (const row of rows) sum += Number(row[2]);
    return String(sum);
  },
  async "isomorphic-git"() {
    const git = await import("isomorphic-git");
    const repository = { fs: { promises: fsp }, dir };
    const author = { name: "a", email: "a@example.org", timestamp: 1_700_000_000, timezoneOffset: 0 };
    await git.init({ ...repository, defaultBranch: "main" });
    await inLanes(4, 200, async (i) => {
      await fsp.mkdir(join(dir, `folder${i % 10}`), { recursive: true });
      await fsp.writeFile(join(dir, `folder${i % 10}/file${i}`), bytes(500 + i, i));
    });
    await git.add({ ...repository, filepath: "." });
    const first = await git.commit({ ...repository, message: "first", author });
    for (let i = 0; i < 20; i++) await fsp.writeFile(join(dir, `folder0/file${i * 10}`), "changed");
    return [first, ...(await git.statusMatrix(repository)).map((row) => row.join(" "))].join("\n");
  },
  async lowdb() {
    const db = await (await import("lowdb/node")).JSONFilePreset(join(dir, "db.json"), { posts: [] });
    for (let i = 0; i < 150; i++) await db.update(({ posts }) => posts.push({ id: i, text: "x".repeat(i) }));
    return fs.readFileSync(join(dir, "db.json"), "utf8");
  },
  async prettier() {
    const prettier = await import("prettier");
    fs.writeFileSync(join(dir, ".prettierrc"), '{"semi":false}');
    const done = [];
    for (let i = 0; i < 60; i++) {
      const file = join(dir, `package${i}/source.js`);
      await fsp.mkdir(join(dir, `package${i}`));
      await fsp.writeFile(file, `const a={b:${i}};`);
      const options = await prettier.resolveConfig(file, { editorconfig: true });
      done.push(await prettier.format(await fsp.readFile(file, "utf8"), { ...options, filepath: file }));
      await fsp.writeFile(file, done.at(-1));
    }
    return done.join("");
  },
  async rimraf() {
    const { rimraf } = await import("rimraf");
    for (let i = 0; i < 400; i++) {
      fs.mkdirSync(join(dir, `tree/${i % 20}/deep`), { recursive: true });
      fs.writeFileSync(join(dir, `tree/${i % 20}/deep/${i}`), "");
    }
    return measured(async () => `${await rimraf(join(dir, "tree"))} ${fs.readdirSync(dir).length}`);
  },
  async tar() {
    const tar = await import("tar");
    const file = join(dir, "all.tar");
    await tar.c({ file, cwd: modules, portable: true, mtime: new Date(0) }, ["fastify", "lowdb"]);
    fs.mkdirSync(join(dir, "out"));
    await pipeline((await fsp.open(file)).createReadStream(), tar.x({ cwd: join(dir, "out") }));
    return tree(join(dir, "out"));
  },
  async tempy() {
    const { temporaryDirectoryTask, temporaryWriteTask } = await import("tempy");
    const read = [];
    for (let i = 0; i < 80; i++) {
      read.push(await temporaryWriteTask(`content ${i}`, (path) => fs.readFileSync(path, "utf8")));
      await temporaryDirectoryTask((path) => fs.writeFileSync(join(path, "file"), ""));
    }
    return read.join();
  },
  async unstorage() {
    const driver = (await import("unstorage/drivers/fs")).default({ base: dir });
    const storage = (await import("unstorage")).createStorage({ driver });
    await inLanes(8, 300, (i) => storage.setItem(`part${i % 7}:key${i}`, { i }));
    const keys = (await storage.getKeys()).sort();
    const values = await Promise.all(keys.slice(0, 60).map((key) => storage.getItem(key)));
    await storage.clear();
    return JSON.stringify([keys, values]);
  },
};

let sinceMs = 0;
let sinceCpu = process.cpuUsage();
/** What counts is what comes from here on. */
function measured(work) {
  sinceMs = performance.now();
  sinceCpu = process.cpuUsage();
  return work();
}

// The packages are loaded before: what they import by name.
for (const [, wanted] of String(jobs[name]).matchAll(/import\("([^"]+)"\)/g)) await import(wanted);
const result = await measured(jobs[name]);
const { user, system } = process.cpuUsage(sinceCpu);
const ms = performance.now() - sinceMs;
console.log(JSON.stringify({ name, ms, cpuMs: (user + system) / 1000, digest: digest(result) }));
