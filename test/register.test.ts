// Owns bun-uring/register: what a program, its packages and its Workers get from node:fs when it is preloaded, and that
// real packages do with it what they do with Bun's own.
// Assumes the packages in devDependencies. Programs run in processes of their own; the backend is the one asked for.

import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tmpDir } from "./helpers/tmp.ts";

const root = join(import.meta.dir, "..");
const app = tmpDir();
symlinkSync(join(root, "node_modules"), join(app, "node_modules"));
const isRing = process.env["BUN_URING_BACKEND"] !== "node";

/** Runs a script with or without the preload; its standard output. */
function run(script: string, preload: boolean, name = "main.mts"): string {
  writeFileSync(join(app, name), script);
  const flags = preload ? ["--preload", join(root, "src/register.ts")] : [];
  const child = Bun.spawnSync([process.execPath, ...flags, join(app, name)], { cwd: app, env: process.env });
  return child.stdout.toString() + child.stderr.toString();
}

/** Says of each way to a function whether it is this package's. */
const WAYS = `
  import whole, { readFile as named, promises as namedPromises } from "node:fs";
  import * as space from "fs";
  import wholePromises, { stat as namedStat } from "node:fs/promises";
  import * as promisesSpace from "fs/promises";
  import { createRequire } from "node:module";
  import { own } from "${root}/src/callbacks.ts";
  import promises from "${root}/src/promises.ts";
  const required = createRequire(import.meta.url);
  const functions = { default: whole.readFile, named, space: space.readFile, require: required("fs").readFile,
    "require node:": required("node:fs").readFile, dynamic: (await import("node:fs")).readFile,
    builtin: process.getBuiltinModule("fs").readFile };
  const async = { default: wholePromises.stat, named: namedStat, space: promisesSpace.stat, "fs.promises": whole.promises.stat,
    "named promises": namedPromises.stat, require: required("fs/promises").stat, "require.promises": required("fs").promises.stat };
  const other = [
    ...Object.entries(functions).filter(([, value]) => value !== own.readFile).map(([way]) => "fs: " + way),
    ...Object.entries(async).filter(([, value]) => value !== promises.stat).map(([way]) => "promises: " + way)];
  export const said = JSON.stringify({ other, same: required("fs") === whole && whole.promises === wholePromises });
`;

describe.if(isRing)("what is reached", () => {
  const ALL = JSON.stringify({ other: [], same: true });

  test("named, default and namespace imports, require, by all names, with one object for each module", () => {
    expect(run(`${WAYS} console.log(said);`, true)).toBe(`${ALL}\n`);
  });

  test("in both kinds of Worker, also in a Worker of a Worker", () => {
    writeFileSync(join(app, "ways.mts"), WAYS);
    writeFileSync(
      join(app, "deep.mts"),
      `const { said } = await import("./ways.mts"); postMessage(said); process.exit(0);`,
    );
    writeFileSync(
      join(app, "worker.mts"),
      `const { said } = await import("./ways.mts");
       console.log(said);
       const deep = new Worker(new URL("./deep.mts", import.meta.url));
       deep.onmessage = ({ data }) => { console.log(data); process.exit(0); };`,
    );
    const main = `
      import { Worker as Thread } from "node:worker_threads";
      const web = new Worker(new URL("./worker.mts", import.meta.url).href, { name: "web" });
      await new Promise((resolve) => web.addEventListener("close", resolve));
      const thread = new Thread(new URL("./worker.mts", import.meta.url), { workerData: 1 });
      await new Promise((resolve) => thread.on("exit", resolve));
      console.log(thread instanceof Thread, web instanceof Worker, Worker.name, Thread.name);`;
    expect(run(main, true).trim().split("\n").sort()).toEqual(["true true Worker Worker", ALL, ALL, ALL, ALL].sort());
  });

  test("synchronous functions stay Bun's, and what the package delegates does not come back", () => {
    const said = run(
      `import * as fs from "node:fs";
       const { statSync } = process.getBuiltinModule("node:fs");
       const { opendir, glob, watch, realpath, chmod, access } = fs.promises;
       fs.writeFileSync("a.txt", "1");
       await access("a.txt"); await chmod("a.txt", 0o600); await realpath("a.txt");
       for await (const entry of await opendir(".")) void entry;
       for await (const name of glob("*.txt")) console.log(name);
       const changes = watch(".", { signal: AbortSignal.timeout(2000) })[Symbol.asyncIterator]();
       const change = changes.next();
       fs.chmodSync("a.txt", 0o644);
       await change;
       await changes.return();
       console.log(fs.statSync === statSync, fs.statSync("a.txt").size);`,
      true,
    );
    expect(said).toBe("a.txt\ntrue 1\n");
  });
});

test("on the node backend it changes nothing", () => {
  writeFileSync(
    join(app, "none.mts"),
    `import fs, { readFile } from "node:fs";
     const before = process.getBuiltinModule("node:fs").readFile;
     await import("${root}/src/register.ts");
     console.log(fs.readFile === before, readFile === before);`,
  );
  const child = Bun.spawnSync([process.execPath, join(app, "none.mts")], {
    env: { ...process.env, BUN_URING_BACKEND: "node" },
  });
  expect(child.stdout.toString()).toBe("true true\n");
});

const PROGRAMS: Readonly<Record<string, string>> = {
  "fs-extra": `
    import fse from "fs-extra";
    await fse.emptyDir(dir);
    await fse.outputJson(dir + "/a/b/c.json", { one: 1 }, { spaces: 2 });
    await fse.outputFile(dir + "/a/d.txt", "text");
    await fse.copy(dir + "/a", dir + "/copied");
    await fse.move(dir + "/copied/d.txt", dir + "/copied/e.txt");
    await fse.ensureSymlink(dir + "/copied/e.txt", dir + "/link");
    said.push(await fse.readJson(dir + "/copied/b/c.json"), await fse.pathExists(dir + "/copied/d.txt"),
      (await fse.readdir(dir + "/copied")).sort(), await fse.readFile(dir + "/link", "utf8"));
    said.push(await fse.copy(dir + "/none", dir + "/x").catch((error) => error.code));
    await new Promise((done, fail) => fse.createReadStream(dir + "/link").on("error", fail)
      .pipe(fse.createWriteStream(dir + "/piped")).on("error", fail).on("close", done));
    said.push(fse.readFileSync(dir + "/piped", "utf8"), fse.createReadStream(dir + "/piped") instanceof fse.ReadStream);
    await fse.remove(dir + "/a");
    fse.removeSync(dir + "/link");
    said.push((await fse.readdir(dir)).sort());`,
  "write-file-atomic": `
    import write from "write-file-atomic";
    import { readFileSync, readdirSync, mkdirSync, statSync } from "node:fs";
    mkdirSync(dir, { recursive: true });
    await Promise.all(Array.from({ length: 20 }, (_, i) => write(dir + "/one.txt", "version " + i, { mode: 0o640 })));
    await new Promise((done) => write(dir + "/two.txt", Buffer.from("two"), done));
    said.push(readFileSync(dir + "/one.txt", "utf8"), readdirSync(dir).sort(), statSync(dir + "/one.txt").mode & 0o777);
    said.push(await write(dir + "/none/x", "y").catch((error) => error.code));`,
  fdir: `
    import { fdir } from "fdir";
    import { mkdirSync, writeFileSync } from "node:fs";
    for (const name of ["", "/a", "/a/b", "/c"]) mkdirSync(dir + name, { recursive: true });
    for (const name of ["1", "a/2", "a/b/3", "c/4"]) writeFileSync(dir + "/" + name, name);
    const names = await new fdir().withRelativePaths().crawl(dir).withPromise();
    const counts = await new fdir().onlyCounts().crawl(dir).withPromise();
    said.push(names.sort(), counts.files, new fdir().withDirs().crawl(dir).sync().length);`,
};

describe.each(Object.entries(PROGRAMS))("%s", (name, source) => {
  const whole = (folder: string): string => {
    mkdirSync(join(app, folder));
    return `const dir = ${JSON.stringify(join(app, folder, "tree"))};
      const said = [];
      ${source}
      console.log(JSON.stringify(said).replaceAll(dir, ""));`;
  };

  test("does the same with it as without", () => {
    const [own, ours] = [run(whole(`${name}-own`), false), run(whole(`${name}-ours`), true)];
    expect(own).toStartWith("[");
    expect(ours).toBe(own);
  });

  test("and in a Worker", () => {
    const own = run(whole(`${name}-own-2`), false);
    writeFileSync(join(app, `${name}-worker.mts`), whole(`${name}-worker`));
    const main = `const worker = new Worker(new URL("./${name}-worker.mts", import.meta.url));
      worker.onerror = ({ message }) => console.log(message);`;
    expect(run(main, true)).toBe(own);
  });
});
