#!/usr/bin/env bun
// The command line: reads arguments, calls doctor or cp, and turns what comes of it into one line and an exit code.
// Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted by Ctrl-C, 143 ended by SIGTERM.
// Assumes nothing about the library: where it can't be loaded, that is said like any other error.

import { parseArgs } from "node:util";
import { version } from "../../package.json";
import { copy } from "./cp.ts";
import { examine, reportText } from "./doctor.ts";
import type { Library } from "./library.ts";
import { type ServeRequest, serve } from "./serve.ts";
import { errorText } from "./text.ts";

const USAGE = `bun-uring ${version}: file I/O for Bun on io_uring

  bun-uring doctor [--json]
      What this machine offers, which backend is in use and why, and what would make it better.

  bun-uring cp [-r] [--direct] [--verify] SRC DEST
      Copies a file, or with -r a directory. An existing directory DEST gets the copy inside it.
      -r, --recursive   copy a directory with all that is in it
      --direct          past the page cache (O_DIRECT), for files much larger than memory
      --verify          compare source and copy byte by byte afterwards

  bun-uring serve [DIR] [--port N] [--host NAME] [--workers N] [--spa] [--cors] [--cache SECONDS] [--listing]
                  [--tls CERT KEY]
      Serves the files of a folder (default: this one) over HTTP: ranges, ETags, .br .zst .gz siblings, nothing outside.
      --port, --host    where (default 3000, localhost)
      --workers         threads that share the port (default 1)
      --spa             answers a missing page with index.html
      --cors            any origin may read
      --cache           seconds that clients may keep a file
      --listing         shows what is in a folder that has no index.html
      --tls             certificate and key, two files in PEM form

  -h, --help            this text
  -v, --version         the version

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
BUN_URING_BACKEND=auto|uring|node chooses the backend; BUN_URING_LIB names the native library.`;

const [EXIT_FAILURE, EXIT_USAGE] = [1, 2];
const HELP = { type: "boolean", short: "h", default: false } as const;
const SIGNAL_EXITS = { SIGINT: 130, SIGTERM: 143 } as const;

/** The command was called in a way it can't be; its message is for the user. */
class UsageError extends Error {}

const controller = new AbortController();
let interruptedWith = 0;
for (const name of Object.keys(SIGNAL_EXITS) as (keyof typeof SIGNAL_EXITS)[]) {
  process.on(name, () => {
    // A second signal changes nothing: the first is being obeyed, and the unfinished file must go.
    interruptedWith ||= SIGNAL_EXITS[name];
    controller.abort();
  });
}

async function loadLibrary(): Promise<Library> {
  return import("../index.ts");
}

/** util.parseArgs, whose complaints are usage errors. */
const parse: typeof parseArgs = (config) => {
  try {
    return parseArgs(config);
  } catch (error) {
    throw new UsageError(errorText(error).replace(/\. To specify a positional.*/, ""));
  }
};

async function runDoctor(args: string[]): Promise<void> {
  const { values } = parse({ args, options: { json: { type: "boolean", default: false }, help: HELP } });
  if (values.help) return console.log(USAGE);
  const report = await examine(await loadLibrary(), version);
  console.log(values.json ? JSON.stringify(report, null, 2) : reportText(report));
  if (!report.selfTest.ok) throw new Error(`the self-test failed: ${report.selfTest.error}`);
}

async function runCopy(args: string[]): Promise<void> {
  const { values, positionals } = parse({
    args,
    allowPositionals: true,
    options: {
      recursive: { type: "boolean", short: "r", default: false },
      direct: { type: "boolean", default: false },
      verify: { type: "boolean", default: false },
      help: HELP,
    },
  });
  if (values.help) return console.log(USAGE);
  if (positionals.length !== 2) throw new UsageError(`cp takes a source and a destination, not ${positionals.length}`);
  const [source, destination] = positionals as [string, string];
  await copy(await loadLibrary(), { source, destination, ...values }, controller.signal);
}

async function runServe(args: string[]): Promise<void> {
  const text = { type: "string" } as const;
  const flag = { type: "boolean", default: false } as const;
  const { values, positionals } = parse({
    args,
    allowPositionals: true,
    options: {
      port: text,
      host: text,
      workers: text,
      cache: text,
      spa: flag,
      cors: flag,
      listing: flag,
      tls: flag,
      help: HELP,
    },
  });
  if (values.help) return console.log(USAGE);
  const [cert, key] = values.tls ? positionals.splice(-2) : [];
  if (values.tls && (cert === undefined || key === undefined))
    throw new UsageError("--tls takes a certificate and a key");
  if (positionals.length > 1) throw new UsageError(`serve takes one folder, not ${positionals.length}`);
  const number = (name: string, given: string | undefined, fallback: number, least: number): number => {
    const value = given === undefined ? fallback : Number(given);
    if (!Number.isInteger(value) || value < least) throw new UsageError(`--${name} takes a number from ${least} on`);
    return value;
  };
  const request: ServeRequest = {
    folder: positionals[0] ?? ".",
    port: number("port", values.port, 3000, 0),
    hostname: values.host ?? "localhost",
    workers: number("workers", values.workers, 1, 1),
    cache: values.cache === undefined ? null : number("cache", values.cache, 0, 0),
    spa: values.spa,
    cors: values.cors,
    listing: values.listing,
    tls: cert === undefined || key === undefined ? null : { cert, key },
  };
  await serve(await import("../server.ts"), request, controller.signal);
}

async function run([command, ...args]: string[]): Promise<void> {
  if (command === "-v" || command === "--version") return console.log(version);
  if (command === "-h" || command === "--help" || command === "help") return console.log(USAGE);
  if (command === "doctor") return runDoctor(args);
  if (command === "cp") return runCopy(args);
  if (command === "serve") return runServe(args);
  throw new UsageError(command === undefined ? "a command is missing" : `there is no command '${command}'`);
}

try {
  await run(process.argv.slice(2));
} catch (error) {
  if (interruptedWith > 0) {
    console.error("bun-uring: interrupted; the file that was being written is removed");
    process.exitCode = interruptedWith;
  } else if (error instanceof UsageError) {
    console.error(`bun-uring: ${error.message} (see bun-uring --help)`);
    process.exitCode = EXIT_USAGE;
  } else {
    console.error(`bun-uring: ${errorText(error)}`);
    process.exitCode = EXIT_FAILURE;
  }
}
