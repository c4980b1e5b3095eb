// What `cp` shows while it runs: a bar with rate and time left on a terminal, a plain line now and then elsewhere.
// Assumes that it alone writes to the stream until it is stopped. Never more often than ten times a second.

import { type Options, SingleBar } from "cli-progress";
import { bytesText, durationText } from "./text.ts";

/** How far a copy is. */
export interface Amount {
  files: number;
  bytes: number;
}

interface Progress {
  update(done: Amount): void;
  /** Removes the bar, or ends the lines. */
  stop(): void;
}

/** Where progress is shown: process.stdout, or what a test listens to. */
type Screen = NodeJS.WriteStream;

/** Shows progress towards `total`; `verb` is what is being done, "copying" for example. */
export function showProgress(verb: string, total: Amount, screen: Screen): Progress {
  return screen.isTTY ? new Bar(verb, total, screen) : new Lines(verb, total, screen);
}

const SHOWN_EVERY_MS = 100;
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

function texts(done: Amount, total: Amount, pace: Pace): Record<string, string> {
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

class Bar implements Progress {
  readonly #bar: SingleBar;
  readonly #total: Amount;
  readonly #pace = new Pace();
  #dueMs = 0;

  constructor(verb: string, total: Amount, screen: Screen) {
    const options: Options = {
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
    };
    this.#bar = new SingleBar(options);
    this.#total = total;
    this.#bar.start(Math.max(1, total.bytes), 0, texts({ files: 0, bytes: 0 }, total, this.#pace));
  }

  update(done: Amount): void {
    const now = performance.now();
    if (now < this.#dueMs) return;
    this.#dueMs = now + SHOWN_EVERY_MS;
    this.#bar.update(this.#total.bytes === 0 ? 1 : done.bytes, texts(done, this.#total, this.#pace));
  }

  stop(): void {
    this.#bar.stop();
  }
}

class Lines implements Progress {
  readonly #verb: string;
  readonly #total: Amount;
  readonly #screen: Screen;
  readonly #pace = new Pace();
  #dueMs = performance.now() + LINE_EVERY_MS;

  constructor(verb: string, total: Amount, screen: Screen) {
    this.#verb = verb;
    this.#total = total;
    this.#screen = screen;
  }

  update(done: Amount): void {
    const now = performance.now();
    if (now < this.#dueMs) return;
    this.#dueMs = now + LINE_EVERY_MS;
    const { done: bytes, size, files, rate, left } = texts(done, this.#total, this.#pace);
    const percent = Math.floor((100 * done.bytes) / Math.max(1, this.#total.bytes));
    this.#screen.write(`${this.#verb} ${percent} %, ${bytes} of ${size}, ${files} files, ${rate}, ${left} left\n`);
  }

  stop(): void {}
}
