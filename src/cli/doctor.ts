// `bun-uring doctor`: what this machine offers, what the package makes of it, and what would make it better.
// Assumes nothing about the machine; looks, tries one small file, and changes nothing.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Capabilities } from "../status.ts";
import type { Library } from "./library.ts";
import { errorText } from "./text.ts";

/** What `doctor --json` prints. */
interface Report extends Capabilities {
  version: string;
  bun: string;
  /** Platform and processor, "linux-x64" for example. */
  platform: string;
  /** A file was written, synchronised, looked at, copied, read back in each of the ways that there are, and compared. */
  selfTest: { ok: boolean; error: string | null };
  /** One sentence each; empty if nothing can be bettered. */
  advice: string[];
}

/** Opcodes that the package has another way for. */
const OPTIONAL_OPCODES = ["RENAMEAT", "UNLINKAT", "MKDIRAT", "SYMLINKAT", "LINKAT", "FTRUNCATE"] as const;
const WISHED_SQ_ENTRIES = 256;
const WISHED_NOFILE = 4096;

export async function examine(library: Library, version: string): Promise<Report> {
  const selfTest = await tryFile(library);
  const found = library.capabilities();
  return {
    version,
    bun: Bun.version,
    platform: `${process.platform}-${process.arch}`,
    ...found,
    selfTest,
    advice: adviceOn(library, found, selfTest),
  };
}

async function tryFile(library: Library): Promise<Report["selfTest"]> {
  const folder = mkdtempSync(join(tmpdir(), "bun-uring-doctor-"));
  try {
    const bytes = crypto.getRandomValues(Buffer.alloc(65536));
    const path = join(folder, "file");
    await library.writeFile(path, bytes, { flush: true });
    await library.copyFile(path, join(folder, "copy"));
    if ((await library.stat(path)).size !== bytes.length) return { ok: false, error: "stat tells a wrong size" };
    // One alone, then many at once: they go different ways.
    const alone = await library.readFile(path);
    const many = await Promise.all(Array.from({ length: 8 }, () => library.readFile(join(folder, "copy"))));
    const same = [alone, ...many].every((read) => bytes.equals(read));
    return { ok: same, error: same ? null : "what was read back is not what was written" };
  } catch (error) {
    return { ok: false, error: errorText(error) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function adviceOn(library: Library, found: Capabilities, selfTest: Report["selfTest"]): string[] {
  const { backend, reason, setupFlags, features, opcodes, limits, doorbell } = found;
  const advice: string[] = [];
  if (limits.nofile !== null && limits.nofile < WISHED_NOFILE)
    advice.push(`At most ${limits.nofile} files can be open: raise \`ulimit -n\` for work on many files at once.`);
  if (reason !== null) return [reason.remedy, ...advice];
  if (backend === "node") return advice;
  if (!selfTest.ok) advice.unshift("io_uring does not work here: set BUN_URING_BACKEND=node, and report this, please.");
  if (!setupFlags.includes("COOP_TASKRUN"))
    advice.push("The kernel has no COOP_TASKRUN: Linux 5.19 or newer makes completions cheaper.");
  const missing = OPTIONAL_OPCODES.filter((name) => !opcodes.includes(name));
  if (missing.length > 0) {
    const since = missing.map((name) => `${name} (Linux ${library.OPCODE_SINCE[name]})`).join(", ");
    advice.push(`The kernel lacks ${since}: these go through node:fs.`);
  }
  if (!found.restricted)
    advice.push("The kernel can't restrict a ring to what this package uses: Linux 5.10 or newer can.");
  if (found.lateClose)
    advice.push(
      "The kernel closes direct descriptors late, so most files take ordinary ones: Linux 6.12 or newer is faster.",
    );
  if (!found.cachedLookups)
    advice.push(
      "Lookups of cached files take a thread: openat2 with RESOLVE_CACHED needs Linux 5.12, and a sandbox that allows it.",
    );
  // Where the kernel has such tables (the second sign of each pair) and gives none, memory may not be locked for them.
  const withoutTable = limits.directDescriptors === 0 && opcodes.includes("MKDIRAT");
  const canFix = features.includes("RSRC_TAGS") && opcodes.includes("READ_FIXED") && opcodes.includes("WRITE_FIXED");
  const withoutBuffers = limits.fixedBuffers === 0 && canFix;
  if (limits.sqEntries < WISHED_SQ_ENTRIES || withoutTable || withoutBuffers)
    advice.push("The ring is smaller than wished, as RLIMIT_MEMLOCK is low: raise `ulimit -l` (8 MiB is enough).");
  if (limits.directDescriptors === 0 && !withoutTable)
    advice.push(
      "The kernel can't open files into a ring's table: with Linux 5.15 or newer small files take fewer calls.",
    );
  if (doorbell === "timer")
    advice.push(
      "Completions are polled by a timer, as no second ring could be made: raise `ulimit -l` or `ulimit -n`.",
    );
  return advice;
}

/** The report for people. */
export function reportText(report: Report): string {
  return tableText(rowsOf(report));
}

/** The same without the long lists. */
export function summaryText(report: Report): string {
  return tableText(rowsOf(report).filter(([name]) => name !== "features" && name !== "opcodes"));
}

type ReportRow = readonly [name: string, text: string];

function rowsOf(report: Report): ReportRow[] {
  const { limits } = report;
  const limit = (value: number | null, text: (value: number) => string): string =>
    value === null ? "unlimited" : text(value);
  const rows: ReportRow[] = [
    ["package", `bun-uring ${report.version}, Bun ${report.bun}, ${report.platform}`],
    ["kernel", report.kernel],
    ["backend", report.backend + (report.reason === null ? "" : `: ${report.reason.message} (${report.reason.code})`)],
  ];
  if (report.library !== null)
    rows.push(
      ["library", report.library],
      ["ring", `${limits.sqEntries} submission and ${limits.cqEntries} completion entries; ${tables(report)}`],
      ["set up with", report.setupFlags.join(" ") || "no flags"],
      ["features", report.features.join(" ")],
      ["opcodes", `${report.opcodes.length}: ${report.opcodes.join(" ")}`],
      ["kernel has", found(report.query)],
      ["restricted", report.restricted ? "yes, to the opcodes this package uses" : "no: needs Linux 5.10"],
      ["io-wq", workers(report)],
      ["wake-up", report.doorbell ?? "not needed so far"],
    );
  rows.push(
    [
      "limits",
      `memlock ${limit(limits.memlock, (bytes) => `${bytes / 1024} KiB`)}, open files ${limit(limits.nofile, String)}`,
    ],
    [
      "self-test",
      report.selfTest.ok
        ? "a file was written, synchronised, copied and read back"
        : `FAILED: ${report.selfTest.error}`,
    ],
    ["advice", report.advice.length === 0 ? "none, all is well" : report.advice.join("\n")],
  );
  return rows;
}

function tableText(rows: readonly ReportRow[]): string {
  return rows.map(([name, text]) => name.padEnd(13) + wrap(text)).join("\n");
}

function found(query: Report["query"]): string {
  return query === null
    ? "can't be queried before Linux 6.18"
    : `${query.opcodes} opcodes and ${query.registrations} registrations`;
}

function workers({ limits: { workers } }: Report): string {
  if (workers.bounded === 0) return "workers without a limit: setting one needs Linux 5.15";
  return `at most ${workers.bounded} workers for files and ${workers.unbounded} for the rest`;
}

function tables({ limits, lateClose }: Report): string {
  return `room for ${limits.directDescriptors} direct descriptors${lateClose ? " (closed late)" : ""} and ${limits.fixedBuffers} fixed buffers`;
}

const TEXT_WIDTH = 100;

/** Breaks a text between words, and puts what follows under its beginning. */
function wrap(text: string): string {
  const lines = [""];
  for (const paragraph of text.split("\n")) {
    if (lines.at(-1) !== "") lines.push("");
    for (const word of paragraph.split(" ")) {
      const line = lines.at(-1)!;
      if (line !== "" && line.length + word.length >= TEXT_WIDTH) lines.push(word);
      else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
    }
  }
  return lines.join(`\n${" ".repeat(13)}`);
}
