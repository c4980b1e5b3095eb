// What `cp` shows while it runs: a bar with rate and time left on a terminal, a plain line now and then elsewhere.
// Assumes that it alone writes to the stream until it is stopped. Never more often than ten times a second.

import { SingleBar } from "cli-progress";
import { bytesText, durationText } from "./text.ts";

/** How far a copy is. */
export interface Amount {
  files: number;
  bytes: number;
}

/** Does `work` and shows on `screen` how far it is from `total`; `verb` is what is being done, "copying" for example. */
export async function withProgress<T>(
  verb: string,
  total: Amount,
  screen: NodeJS.WriteStream,
  work: (report: (done: Amount) => void) => Promise<T>,
): Promise<T> {
  const pace = new Pace();
  const bar = screen.isTTY ? barOf(verb, screen) : null;
  const everyMs = bar === null ? LINE_EVERY_MS : BAR_EVERY_MS;
  let dueMs = bar === null ? performance.now() + everyMs : 0;
  const report = (done: Amount): void => {
    const now = performance.now();
    if (now < dueMs) return;
    dueMs = now + everyMs;
    const shown = texts(done, total, pace);
    if (bar === null) screen.write(lineOf(verb, Math.floor((100 * done.bytes) / Math.max(1, total.bytes)), shown));
    else bar.update(total.bytes === 0 ? 1 : done.bytes, shown);
  };
  bar?.start(Math.max(1, total.bytes), 0, texts({ files: 0, bytes: 0 }, total, pace));
  try {
    return await work(report);
  } finally {
    bar?.stop();
  }
}

const BAR_EVERY_MS = 100;
const LINE_EVERY_MS = 2000;

/** Bytes per second of the last seconds, smoothed, and the seconds that are left at that rate. */
class Pace {
  readonly #startMs = performance.now();
  #lastMs = this.#startMs;
  #lastBytes = 0;
  #rate = 0;

  measure(bytes: number, totalBytes: number): { rate: number; left: number } {
    const now = performance.now();
    const elapsed = (now - this.#lastMs) / 1000;
    if (elapsed > 0) {
      const rate = (bytes - this.#lastBytes) / elapsed;
      // The weight of what went before halves every second.
      const before = this.#lastMs === this.#startMs ? 0 : 0.5 ** elapsed;
      this.#rate = this.#rate * before + rate * (1 - before);
      this.#lastMs = now;
      this.#lastBytes = bytes;
    }
    return { rate: this.#rate, left: (totalBytes - bytes) / this.#rate };
  }
}

type Texts = Record<"done" | "size" | "files" | "rate" | "left", string>;

function texts(done: Amount, total: Amount, pace: Pace): Texts {
  const { rate, left } = pace.measure(done.bytes, total.bytes);
  return {
    done: bytesText(done.bytes),
    size: bytesText(total.bytes),
    files: `${done.files.toLocaleString("en-US")}/${total.files.toLocaleString("en-US")}`,
    rate: `${bytesText(Math.round(rate))}/s`,
    left: durationText(Math.ceil(left), 0),
  };
}

const [MIN_BAR, MAX_BAR] = [8, 24];
/** Columns that the text beside the bar needs, but for the count of files. */
const TEXT_WIDTH = 66;

function barOf(verb: string, screen: NodeJS.WriteStream): SingleBar {
  return new SingleBar({
    // {bar} is the library's; the rest are ours.
    format: `${verb} {bar} {percentage} % · {done} of {size} · {rate} · {left} left · {files} files`,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    barsize: Math.max(MIN_BAR, Math.min(MAX_BAR, screen.columns - TEXT_WIDTH)),
    hideCursor: true,
    clearOnComplete: true,
    stopOnComplete: false,
    noTTYOutput: false,
    stream: screen,
    gracefulExit: false,
  });
}

const lineOf = (verb: string, percent: number, { done, size, files, rate, left }: Texts): string =>
  `${verb} ${percent} %, ${done} of ${size}, ${files} files, ${rate}, ${left} left\n`;
