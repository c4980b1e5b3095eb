// Owns the command line as a user meets it: what it prints where, its exit codes, and what is left on the disk.
// Assumes src/cli/main.ts run by this test's own Bun, in processes of their own. Never looks inside.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { capabilities } from "../../src/index.ts";
import { patternBytes, scratch } from "../helpers/tmp.ts";

const tmp = scratch();
/** Each case runs whole programs, on a machine that may be busy. */
setDefaultTimeout(30_000);

const cli = join(import.meta.dir, "..", "..", "src", "cli", "main.ts");

interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

function start(args: readonly string[], env: Record<string, string> = {}): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  return Bun.spawn([process.execPath, cli, ...args], {
    cwd: tmp.dir,
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

async function run(args: readonly string[], env?: Record<string, string>): Promise<Ran> {
  const child = start(args, env);
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { code: await child.exited, stdout, stderr };
}

/** A failure as the command line tells it: one line on stderr, nothing on stdout. */
function failure(code: number, line: RegExp): any {
  return {
    code,
    stdout: "",
    stderr: expect.stringMatching(new RegExp(`^bun-uring: [^\\n]*${line.source}[^\\n]*\\n$`)),
  };
}

describe("usage", () => {
  test("--help and --version print to stdout and succeed", async () => {
    const help = await run(["--help"]);
    expect(help).toMatchObject({ code: 0, stderr: "" });
    expect(help.stdout).toContain("bun-uring cp [-r] [--direct] [--verify] SRC DEST");
    const { version } = JSON.parse(readFileSync(join(import.meta.dir, "..", "..", "package.json"), "utf8"));
    expect(await run(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });

  test("what can't be understood is one line on stderr and exit code 2", async () => {
    expect(await run([])).toEqual(failure(2, /a command is missing/));
    expect(await run(["move"])).toEqual(failure(2, /there is no command 'move'/));
    expect(await run(["doctor", "--loud"])).toEqual(failure(2, /--loud/));
    expect(await run(["cp", "only-one"])).toEqual(failure(2, /source and a destination, not 1/));
  });
});

describe("doctor", () => {
  test("--json is what capabilities() says, with versions, a self-test and advice", async () => {
    const ran = await run(["doctor", "--json"]);
    expect(ran).toMatchObject({ code: 0, stderr: "" });
    const report = JSON.parse(ran.stdout);
    const { doorbell, ...same } = capabilities();
    expect(report).toMatchObject(JSON.parse(JSON.stringify(same)));
    expect(report).toMatchObject({ bun: Bun.version, platform: `linux-${process.arch}`, selfTest: { ok: true } });
    expect(report.advice).toBeArray();
    expect([doorbell, null, "socket", "timer"]).toContain(report.doorbell);
  });

  test("for people: the same in lines, with the reason and the remedy of a fallback", async () => {
    const { code, stdout } = await run(["doctor"], { BUN_URING_BACKEND: "auto", BUN_URING_LIB: "/nowhere.so" });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^backend +node: no native library/m);
    expect(stdout).toMatch(/^advice +Build it with `make`/m);
  });

  test("where io_uring is demanded and can't be had: exit code 1 and the cause in one line", async () => {
    const env = { BUN_URING_BACKEND: "uring", BUN_URING_LIB: "/nowhere.so" };
    expect(await run(["doctor"], env)).toEqual(failure(1, /io_uring is not available/));
  });

  test("BUN_URING_BACKEND=node is obeyed", async () => {
    const { stdout } = await run(["doctor", "--json"], { BUN_URING_BACKEND: "node" });
    expect(JSON.parse(stdout)).toMatchObject({ backend: "node", reason: { code: "DISABLED" }, selfTest: { ok: true } });
  });
});

describe("cp", () => {
  test("copies a file, and verifies it", async () => {
    const [source, dest] = [tmp.file(patternBytes(3_000_001), "source"), tmp.path()];
    const ran = await run(["cp", "--verify", source, dest]);
    expect(ran).toMatchObject({ code: 0, stderr: "" });
    expect(ran.stdout).toMatch(/^copied 1 file, 3\.00 MB in .*\/s\)\nverified 1 file, 3\.00 MB in .*\/s\)\n$/);
    expect(readFileSync(dest).equals(readFileSync(source))).toBe(true);
  });

  test("puts a file into a folder that exists, under its own name; --direct gives the same bytes", async () => {
    const [source, folder] = [tmp.file(patternBytes(1_234_567), "named"), tmp.folder()];
    expect((await run(["cp", "--direct", source, folder])).code).toBe(0);
    const [name] = readdirSync(folder);
    expect(source.endsWith(`/${name}`)).toBe(true);
    expect(readFileSync(join(folder, name!)).equals(readFileSync(source))).toBe(true);
  });

  test("-r copies and verifies a tree: files, an empty folder, a link", async () => {
    const [source, dest] = [tmp.folder("tree"), tmp.path()];
    mkdirSync(join(source, "a", "empty"), { recursive: true });
    writeFileSync(join(source, "a", "text"), "in the tree");
    writeFileSync(join(source, "runs"), patternBytes(200_000), { mode: 0o755 });
    writeFileSync(join(source, "nothing"), "");
    symlinkSync("a/text", join(source, "link"));
    const ran = await run(["cp", "-r", "--verify", source, dest]);
    expect(ran).toMatchObject({ code: 0, stderr: "" });
    expect(ran.stdout).toMatch(/^copied 3 files, .*\nverified 3 files, .*\n$/);
    expect(readFileSync(join(dest, "a", "text"), "utf8")).toBe("in the tree");
    expect(readdirSync(join(dest, "a", "empty"))).toEqual([]);
    expect(readlinkSync(join(dest, "link"))).toBe("a/text");
    expect(lstatSync(join(dest, "runs")).mode).toBe(lstatSync(join(source, "runs")).mode);
  });

  test("works on the node backend", async () => {
    const [source, dest] = [tmp.file(patternBytes(1_000_000)), tmp.path()];
    expect((await run(["cp", "--verify", source, dest], { BUN_URING_BACKEND: "node" })).code).toBe(0);
    expect(readFileSync(dest).equals(readFileSync(source))).toBe(true);
  });

  test("refuses what would end badly, and touches nothing", async () => {
    const file = tmp.file("precious", "file");
    const folder = tmp.folder();
    mkdirSync(join(folder, "in"));
    expect(await run(["cp", tmp.path("none"), tmp.path()])).toEqual(
      failure(1, /ENOENT: no such file or directory, stat '/),
    );
    expect(await run(["cp", folder, tmp.path()])).toEqual(failure(1, /is a directory; use -r/));
    expect(await run(["cp", file, file])).toEqual(failure(1, /are the same file/));
    expect(await run(["cp", "-r", folder, file])).toEqual(failure(1, /is not a directory/));
    expect(await run(["cp", "-r", folder, join(folder, "in")])).toEqual(failure(1, /can't be copied into itself/));
    expect(await run(["cp", "-r", folder, folder])).toEqual(failure(1, /can't be copied into itself/));
    expect(await run(["cp", "/dev/null", tmp.path()])).toEqual(failure(1, /neither a regular file nor a directory/));
    expect(await run(["cp", file, join(tmp.path(), "none", "x")])).toEqual(failure(1, /ENOENT/));
    expect(readFileSync(file, "utf8")).toBe("precious");
    expect(readdirSync(folder)).toEqual(["in"]);
    expect(readdirSync(join(folder, "in"))).toEqual([]);
  });

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)(
    "%s leaves no half file: exit code %d",
    async (signal, code) => {
      // Large enough that its copying takes many times as long as it takes to notice that it began.
      const [source, dest] = [tmp.file(Buffer.alloc(256 * 1024 * 1024, "x"), "large"), tmp.path()];
      const child = start(["cp", source, dest]);
      while (!existsSync(dest) && child.exitCode === null) await new Promise(setImmediate);
      child.kill(signal);
      const stderr = await child.stderr.text();
      expect([await child.exited, stderr]).toEqual([
        code,
        "bun-uring: interrupted; the file that was being written is removed\n",
      ]);
      expect(existsSync(dest)).toBe(false);
      expect(existsSync(source)).toBe(true);
    },
    60_000,
  );

  test("shows a bar on a terminal, with rate and time left, and takes it away", async () => {
    const [source, dest] = [tmp.file(patternBytes(20_000_000)), tmp.path()];
    // script(1) gives it a terminal.
    const child = Bun.spawn(["script", "-qec", `${process.execPath} ${cli} cp ${source} ${dest}`, "/dev/null"], {
      env: { ...process.env, TERM: "xterm" },
      stdin: "ignore",
      stdout: "pipe",
    });
    const shown = await child.stdout.text();
    expect(await child.exited).toBe(0);
    expect(shown).toMatch(/copying [█░]{8,24} \d+ % · .* of 20\.0 MB · .*\/s · .* left · \d\/1 files/);
    // The cursor is shown again, and the summary is the last that is to be seen.
    expect(shown.lastIndexOf("\x1b[?25h")).toBeGreaterThan(shown.lastIndexOf("\x1b[?25l"));
    expect(shown.trimEnd().split("\n").at(-1)).toMatch(/copied 1 file, 20\.0 MB/);
  });
});
