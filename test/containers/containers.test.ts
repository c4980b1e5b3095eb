// One row for each place where containers, service managers and limits meet io_uring: which backend is seen there, why, and that the results are
// those of the node backend. README's table of places says what is seen here, and has no row without a test.
// Assumes gcc and util-linux; no container engine: what they do to a process is done to it here.

import { beforeAll, describe, expect, onTestFinished, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { asUser, refusingIoUring, withLimits } from "../helpers/as-user.ts";
import { pidsCgroup } from "../helpers/cgroup.ts";
import { type ChildOptions, runCase, startCase } from "../helpers/child.ts";
import { faultTest, type Need } from "../helpers/requirements.ts";
import { strace } from "../helpers/strace.ts";
import { tmpDir } from "../helpers/tmp.ts";

interface Seen {
  readonly backend: string;
  readonly reason: { readonly code: string; readonly message: string; readonly remedy: string } | null;
  readonly limits: { readonly sqEntries: number; readonly directDescriptors: number };
  readonly rings: number;
  readonly results: unknown[];
  readonly doctor: {
    readonly backend: string;
    readonly selfTest: { ok: boolean; error: string | null };
    readonly advice: string[];
  };
}

interface Row {
  readonly name: string;
  readonly needs: readonly Need[];
  /** The first cell of README's row. */
  readonly readme?: string;
  readonly prefix: () => readonly string[] | Promise<readonly string[]>;
  /** The backend, or the code of the reason why it is node's. */
  readonly gives: "io_uring" | string;
  readonly says?: RegExp;
  readonly check?: (seen: Seen) => void;
}

const fixture = join(import.meta.dir, "containers.child.ts");
const readme = readFileSync(join(import.meta.dir, "../../README.md"), "utf8");
const root = tmpDir();
const folder = join(root, "tour"); // errors name their paths: every tour uses the same
mkdirSync(folder);
for (const path of [root, folder]) chmodSync(path, 0o777);
let expected: unknown[];

const tour = (backend: string, options: ChildOptions = {}): Promise<Seen> =>
  runCase<Seen>(fixture, "tour", { ...options, input: folder, env: { BUN_URING_BACKEND: backend, TMPDIR: root } });

beforeAll(async () => {
  expected = (await tour("node")).results;
});

/** In namespaces of its own, where it is root, and may mount. */
const inNamespace = (script: string): string[] => ["unshare", "--mount", "sh", "-ec", `${script}; exec "$@"`, "sh"];

const [O_CREAT, SET_ID] = [0o100, 0o6000];
const number = (x64: number, arm64: number): number => (process.arch === "arm64" ? arm64 : x64);

/** What systemd's RestrictSUIDSGID= refuses: modes with a set-id bit, and openat2 altogether, whose mode a filter can't see. */
const restrictSuidSgid = (): string[] => {
  const calls: Record<string, string> = {
    openat2: "ENOSYS",
    [`${number(91, 52)}@1&${SET_ID}`]: "EPERM", // fchmod
    [`${number(268, 53)}@2&${SET_ID}`]: "EPERM", // fchmodat
    [`${number(258, 34)}@2&${SET_ID}`]: "EPERM", // mkdirat
    [`${number(259, 33)}@2&${SET_ID}`]: "EPERM", // mknodat
    [`${number(257, 56)}@2&${O_CREAT}@3&${SET_ID}`]: "EPERM", // openat
  };
  if (process.arch === "x64") {
    Object.assign(calls, { [`90@1&${SET_ID}`]: "EPERM", [`83@1&${SET_ID}`]: "EPERM", [`133@1&${SET_ID}`]: "EPERM" });
    Object.assign(calls, { [`2@1&${O_CREAT}@2&${SET_ID}`]: "EPERM", [`85@1&${SET_ID}`]: "EPERM" }); // open, creat
  }
  return refusingIoUring(calls);
};

const allThree = (action: string): string[] => refusingIoUring({ setup: action, enter: action, register: action });
const DEFAULT_PROFILE = "Docker, Podman, Kubernetes with the default seccomp profile";
const MEMLOCK = "A low `RLIMIT_MEMLOCK` on kernels before 5.12 and from 6.14 on";

const rows: readonly Row[] = [
  { name: "nothing is restricted", needs: [], prefix: () => [], gives: "io_uring" },
  {
    name: "Docker's default profile",
    needs: ["gcc"],
    readme: DEFAULT_PROFILE,
    prefix: () => allThree("EPERM"),
    gives: "EPERM",
    says: /seccomp/,
  },
  {
    name: "gVisor",
    needs: ["gcc"],
    readme: "gVisor, old kernels, some emulations",
    prefix: () => allThree("ENOSYS"),
    gives: "ENOSYS",
    says: /5\.6/,
  },
  {
    name: "a profile that ends the process",
    needs: ["gcc"],
    readme: "A sandbox that ends the process at an unknown system call",
    prefix: () => allThree("kill"),
    gives: "SIGSYS",
    says: /ends the process/,
  },
  {
    name: "a profile that ends the process at io_uring_enter only",
    needs: ["gcc"],
    prefix: () => refusingIoUring({ enter: "kill" }),
    gives: "SIGSYS",
  },
  {
    name: "systemd's RestrictSUIDSGID= and DynamicUser=",
    needs: ["gcc"],
    readme: "systemd's `RestrictSUIDSGID=`, `DynamicUser=`, old container profiles",
    prefix: restrictSuidSgid,
    gives: "io_uring",
  },
  {
    name: "an old profile that refuses openat2",
    needs: ["gcc"],
    prefix: () => refusingIoUring({ openat2: "EPERM" }),
    gives: "io_uring",
  },
  {
    name: "an old profile that refuses statx, renameat2 and RWF_NOWAIT's calls",
    needs: ["gcc"],
    prefix: () => {
      const young = [number(332, 291), number(316, 276), number(327, 286), number(328, 287)];
      return refusingIoUring(Object.fromEntries(young.map((call) => [String(call), "EPERM"])));
    },
    gives: "io_uring",
  },
  {
    name: "RLIMIT_MEMLOCK 0",
    needs: ["otherUser", "prlimit", "chargedMemory"],
    readme: MEMLOCK,
    prefix: () => [...asUser(), ...withLimits({ memlock: 0 })],
    gives: "ENOMEM",
    says: /RLIMIT_MEMLOCK.*ulimit -l/,
  },
  {
    name: "RLIMIT_MEMLOCK 64 KiB",
    needs: ["otherUser", "prlimit"],
    prefix: () => [...asUser(), ...withLimits({ memlock: 65536 })],
    gives: "io_uring",
  },
  {
    name: "RLIMIT_MEMLOCK 0 as root",
    needs: ["root", "prlimit"],
    prefix: () => withLimits({ memlock: 0 }),
    gives: "io_uring",
  },
  {
    name: "RLIMIT_NOFILE 20",
    needs: ["prlimit"],
    readme: "A low `RLIMIT_NOFILE`",
    prefix: () => withLimits({ nofile: 20 }),
    gives: "io_uring",
    check: ({ limits, doctor }) => {
      expect(limits.directDescriptors).toBe(16);
      expect(doctor.advice.join()).toContain("ulimit -n");
    },
  },
  {
    name: "pids.max 20",
    needs: ["pidsCgroup"],
    prefix: () => withTasks(20),
    gives: "io_uring",
  },
  {
    name: "another user",
    needs: ["otherUser"],
    prefix: () => asUser(),
    gives: "io_uring",
  },
  {
    name: "a user namespace",
    needs: ["userNamespace"],
    prefix: () => ["unshare", "--user", "--map-root-user", "--"],
    gives: "io_uring",
  },
  {
    name: "a read-only root",
    needs: ["root"],
    prefix: () =>
      inNamespace(
        `mount --bind ${root} ${root}; mount -o remount,bind,ro /; if touch /bun-uring-ro 2>/dev/null; then exit 9; fi`,
      ),
    gives: "io_uring",
  },
  {
    name: "no /proc",
    needs: ["root", "bunWithoutProc"],
    prefix: () => inNamespace("umount -l /proc"),
    gives: "io_uring",
  },
  {
    name: "a profile that knows no call younger than Linux 5.1, with docs/seccomp.json added",
    needs: ["gcc"],
    prefix: () => {
      const { names } = JSON.parse(readFileSync(join(import.meta.dir, "../../docs/seccomp.json"), "utf8"));
      const added = names.map((name: string) => [name.replace("io_uring_", ""), "allow"]);
      return oldProfile(Object.fromEntries(added));
    },
    gives: "io_uring",
  },
  { name: "the same profile without it", needs: ["gcc"], prefix: () => oldProfile({}), gives: "EPERM" },
];

/** EPERM for what it does not know, as Docker's has it, and ENOSYS for clone3 (435), so that a libc goes the older way. */
const oldProfile = (added: Record<string, string>): string[] =>
  refusingIoUring({ ...added, "435": "ENOSYS", "424+": "EPERM" });

function withTasks(most: number): readonly string[] {
  const group = pidsCgroup();
  onTestFinished(group.remove);
  group.limit(most);
  return group.prefix;
}

describe("containers and sandboxes", () => {
  for (const { name, needs, prefix, gives, says, check, readme: cell } of rows)
    faultTest(name, { needs: ["ioUring", ...needs] }, async () => {
      // Where a ring is expected it has to do everything itself; where it is not, the choice is the package's.
      const seen = await tour(gives === "io_uring" ? "uring" : "auto", { prefix: await prefix() });
      expect({ backend: seen.backend, code: seen.reason?.code ?? "io_uring" }).toEqual({
        backend: gives === "io_uring" ? "io_uring" : "node",
        code: gives,
      });
      expect(seen.results).toEqual(expected);
      expect(seen.doctor).toMatchObject({ backend: seen.backend, selfTest: { ok: true, error: null } });
      if (says !== undefined) expect(`${seen.reason?.message} ${seen.reason?.remedy}`).toMatch(says);
      if (gives !== "io_uring")
        expect({ rings: seen.rings, advice: seen.doctor.advice }).toMatchObject({
          rings: 0,
          advice: [seen.reason!.remedy],
        });
      if (cell !== undefined && gives !== "io_uring") expect(readmeTable.get(cell)).toContain(`\`${gives}\``);
      check?.(seen);
    });

  faultTest(
    "BUN_URING_BACKEND=uring where a profile ends the process: an error, and no end",
    { needs: ["gcc"] },
    async () => {
      const end = await startCase(fixture, "tour", {
        prefix: allThree("kill"),
        input: folder,
        env: { BUN_URING_BACKEND: "uring" },
      }).finished();
      expect(end.signal).toBeNull();
      expect(end.stderr + (end.error?.message ?? "")).toContain(
        "io_uring is not available: a seccomp profile ends the process",
      );
    },
  );

  faultTest(
    "BUN_URING_BACKEND=node asks no profile: nothing of io_uring's is called",
    { needs: ["gcc", "strace"] },
    async () => {
      const tracer = strace({ trace: ["io_uring_setup", "clone"] });
      onTestFinished(tracer.remove);
      const end = await startCase(fixture, "plain", {
        prefix: tracer.prefix,
        input: folder,
        env: { BUN_URING_BACKEND: "node" },
      }).finished();
      expect(end.exitCode).toBe(0);
      expect(tracer.lines().filter((line) => line.includes("io_uring_setup") || line.includes("clone(NULL"))).toEqual(
        [],
      );
    },
  );
});

/** README's table: what stands in the first cell of each row, and the rest of it. */
const HEAD = "| where | what is seen | what to do |\n|---|---|---|\n";
const table = readme.slice(readme.indexOf(HEAD) + HEAD.length).split("\n\n")[0]!;
const readmeTable = new Map(
  Array.from(table.matchAll(/^\| (.*?) \| (.*) \|$/gm), ([, cell, rest]) => [cell!, rest!] as const),
);

test("README's table has no row but those that are tested", () => {
  const elsewhere = [
    "`kernel.io_uring_disabled` is 1 or 2", // test/fault/refused.test.ts: the machine's own setting
    "A `pids` limit so low that the kernel can't start a worker", // test/fault/worker-limits.test.ts
    "a processor other than x64 and arm64", // test/fault/refused.test.ts: the library is missing
  ];
  const tested = rows.flatMap(({ readme: cell }) => (cell === undefined ? [] : [cell]));
  expect([...readmeTable.keys()].toSorted()).toEqual([...tested, ...elsewhere].toSorted());
});
