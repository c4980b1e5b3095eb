// How long to spin for a completion before sleeping, learned from the latencies that were seen (docs/architecture.md D4). Spinning
// costs processor time, sleeping costs a wake-up: so the loop spins for what completes sooner than a wake-up would, and sleeps else.
// Pure arithmetic on times; knows no ring and reads no clock.

/** Every 32nd wait spins to the limit, to measure the latency again while the loop is sleeping. */
const PROBE_EVERY = 32;
/** A wait spins for so many times the average latency. */
const MARGIN = 3;
/** Longer ones are told apart no more. */
const LONGEST_US = 1000;
/** Spins in a row at the same time after which the clock counts as stopped, as Bun's jest.useFakeTimers() does it. */
const MAX_STOOD = 64;

export class Spin {
  /** Microseconds to spin in any case, where completions take no longer on average. */
  spinUs: number = 40;
  /** The longest spin in microseconds, however dear wake-ups are. */
  maxSpinUs: number = 200;
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
    const { spinUs, maxSpinUs } = this;
    this.#startMs = nowMs;
    this.#stood = 0;
    const isWorth = this.#latencyUs <= Math.max(spinUs, Math.min(this.#wakeUs, maxSpinUs));
    this.#isProbe = !isWorth && ++this.#waits % PROBE_EVERY === 0;
    if (isWorth) this.#untilUs = Math.max(spinUs, Math.min(MARGIN * this.#latencyUs, maxSpinUs));
    else this.#untilUs = this.#isProbe ? Math.min(maxSpinUs, LONGEST_US) : 0;
  }

  /** Whether to spin once more. */
  maySpin(nowMs: number): boolean {
    if (nowMs !== this.#lookedAtMs) this.#stood = 0;
    else if (++this.#stood > MAX_STOOD) return false;
    this.#lookedAtMs = nowMs;
    return (nowMs - this.#startMs) * 1000 < this.#untilUs;
  }

  /** The completion came while the loop was spinning. */
  seen(nowMs: number): void {
    this.#learn(this.#tookUs(nowMs), this.#isProbe ? 2 : 4);
  }

  /** It came after a sleep. */
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
