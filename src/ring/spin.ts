// How long to look for a completion before going to sleep for it, learned from what was seen (docs/architecture.md D4). Looking costs
// the time that it takes, sleeping a wake-up: so it is looked for what comes sooner than a wake-up would, and not else.
// Pure arithmetic on times; knows no ring and reads no clock.

/** One wait in so many is looked out, to learn how long things take while they are slept for. */
const PROBE_EVERY = 32;
/** A wait is looked out for so many times what it takes on average. */
const MARGIN = 3;
/** Longer ones are told apart no more. */
const LONGEST_US = 1000;
/** Looks in a row at the same time after which the clock counts as stopped, as Bun's jest.useFakeTimers() does it. */
const MAX_STOOD = 64;

export class Patience {
  /** Microseconds that are looked out in any case, where what is waited for takes no longer on average. */
  lookUs: number = 40;
  /** Microseconds after which looking ends, however dear wake-ups are. */
  maxLookUs: number = 200;
  /** What a completion takes, smoothed. */
  #latencyUs = 10;
  /** What sleeping adds to that, smoothed: 10 µs on a machine of one's own, 100 on a busy host of virtual ones. */
  #wakeUs = 0;
  #startMs = 0;
  #untilUs = 0;
  #waits = 0;
  #lookedAtMs = 0;
  #stood = 0;
  #isProbe = false;

  /** A wait begins. */
  begin(nowMs: number): void {
    const { lookUs, maxLookUs } = this;
    this.#startMs = nowMs;
    this.#stood = 0;
    const isWorth = this.#latencyUs <= Math.max(lookUs, Math.min(this.#wakeUs, maxLookUs));
    this.#isProbe = !isWorth && ++this.#waits % PROBE_EVERY === 0;
    if (isWorth) this.#untilUs = Math.max(lookUs, Math.min(MARGIN * this.#latencyUs, maxLookUs));
    else this.#untilUs = this.#isProbe ? Math.min(maxLookUs, LONGEST_US) : 0;
  }

  /** Whether to look once more. */
  mayLook(nowMs: number): boolean {
    if (nowMs !== this.#lookedAtMs) this.#stood = 0;
    else if (++this.#stood > MAX_STOOD) return false;
    this.#lookedAtMs = nowMs;
    return (nowMs - this.#startMs) * 1000 < this.#untilUs;
  }

  /** What was waited for has come, while it was looked for. */
  seen(nowMs: number): void {
    this.#learn(this.#tookUs(nowMs), this.#isProbe ? 2 : 4);
  }

  /** It has come after a sleep. */
  slept(nowMs: number): void {
    const tookUs = this.#tookUs(nowMs);
    if (tookUs < this.#latencyUs) this.#latencyUs = tookUs; // it took no longer than that with the wake-up
    if (this.#untilUs > 0) this.#learn(tookUs, 8);
    else this.#wakeUs += (Math.max(0, tookUs - this.#latencyUs) - this.#wakeUs) / 8;
  }

  /** One that was late, because a host took the processor away, says little: it counts as twice the average at most. */
  #learn(tookUs: number, weight: number): void {
    this.#latencyUs += (Math.min(tookUs, 2 * this.#latencyUs + 1) - this.#latencyUs) / weight;
  }

  #tookUs(nowMs: number): number {
    return Math.max(0, Math.min((nowMs - this.#startMs) * 1000, LONGEST_US)); // a fake clock may go back
  }
}
