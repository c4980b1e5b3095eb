// When the ring runs: at the end of the JavaScript turn that staged something, then a few spins of the event loop, then sleep
// until the doorbell rings. It never lets a chain of inline completions keep timers and sockets from their turn.

import { after, clockMs, queueMicrotask, setImmediate } from "../node/clock.ts";
import { errnoCode } from "../node/errors.ts";
import { type Doorbell, openDoorbell } from "./doorbell.ts";
import { PASSING, type Ring } from "./ring.ts";
import { Spin } from "./spin.ts";

/** Bounds of the loop's behaviour, with what they are set to. */
interface LoopLimits {
  /** Flushes in microtasks before one must go through the event loop (docs/architecture.md D5: no cost at 64). */ microtaskRounds: number;
  /** Milliseconds of such flushes before one must. */ microtaskMs: number;
  /** Microseconds of calls answered at once, without the ring, between two turns of the event loop. */ inlineUs: number;
}

const DEFAULT_LIMITS: LoopLimits = {
  microtaskRounds: 64,
  microtaskMs: 0.5,
  inlineUs: 1000,
};

/** Turns of the ring in one go, for work that completions staged. */
const ROUNDS = 4;
/** Milliseconds between two looks at the clock from which on it is looked at after each flush, not after every fourth. */
const LONG_MS = 0.1;
/** Refused submits in a row before the next one waits for a timer of 1 ms, and before the ring is given up. */
const [REFUSALS, LAST_REFUSAL] = [64, 4000];

export class Loop {
  readonly limits: LoopLimits = { ...DEFAULT_LIMITS };
  readonly spin: Spin = new Spin();
  readonly #ring: Ring;
  #doorbell: Doorbell | null = null;
  #rounds = 0;
  #inlineUs = 0;
  #inlineAt = 0;
  #turnStart = 0;
  #lookedAt = 0;
  #longFlushes = false;
  /** A setImmediate of ours is due. */
  #polling = false;
  #asleep = false;
  /** The current wait went to sleep: for the statistics of `Spin`. */
  #slept = false;
  /** The current wait is for syncs alone: how long those take says nothing about the rest. */
  #forSyncs = false;
  #refused = 0;
  #asked = false;
  readonly #forget = (): void => {
    this.#asked = false;
  };
  readonly #flush = (): void => this.flush();
  readonly #step = (): void => this.#poll();

  constructor(ring: Ring) {
    this.#ring = ring;
    ring.onStaged = () => this.#schedule();
  }

  /** Which wake-up is in use; null before the first sleep. */
  get doorbell(): string | null {
    return this.#doorbell === null ? null : this.#doorbell.kind;
  }

  #schedule(): void {
    if (this.#rounds < this.limits.microtaskRounds) queueMicrotask(this.#flush);
    else this.#yield();
  }

  /** Whether a call of about so many microseconds may be answered at once; after some, the event loop has its turn first. */
  mayAnswerInline(us: number): boolean {
    // What has passed since the last one, if that was just now: it took longer than was thought.
    const now = clockMs();
    const passedUs = (now - this.#inlineAt) * 1000;
    this.#inlineAt = now;
    this.#inlineUs += passedUs > us && passedUs < this.limits.inlineUs ? passedUs : us;
    if (this.#inlineUs < this.limits.inlineUs) return true;
    this.#rounds = this.limits.microtaskRounds; // the next flush waits for the event loop, too
    this.#yield();
    return false;
  }

  /** Something is in flight that no flush has submitted. */
  adopted(): void {
    if (this.#asleep) this.#wake(); // it was not there when the loop went to sleep, and would not ring
    if (this.#polling) return;
    this.#wait(clockMs());
    this.#yield();
  }

  /** Whether this is the first such question since the last microtask checkpoint: what comes along can ride together. */
  firstOfTurn(): boolean {
    if (this.#asked) return false;
    this.#asked = true;
    queueMicrotask(this.#forget);
    return true;
  }

  /** The next flush waits for a full iteration of the event loop. */
  #yield(): void {
    if (this.#polling) return;
    this.#polling = true;
    setImmediate(this.#step);
  }

  /** End of a JavaScript turn: everything staged goes out, everything that is done comes back. */
  flush(): void {
    if (this.#stopped()) return;
    if (this.#rounds++ === 0) this.#turnStart = this.#lookedAt = clockMs();
    else if ((this.#rounds & 3) === 0 || this.#longFlushes) this.#lookAtClock();
    this.#run();
  }

  /** After some flushes, every one where they are long: the event loop may be due. */
  #lookAtClock(): void {
    const now = clockMs();
    this.#longFlushes = now - this.#lookedAt > LONG_MS;
    this.#lookedAt = now;
    if (now - this.#turnStart > this.limits.microtaskMs) this.#rounds = this.limits.microtaskRounds;
  }

  /** Whether the ring is closed or poisoned: then nothing keeps the process alive for it any more. */
  #stopped(): boolean {
    const { closed, poisoned } = this.#ring;
    if (!closed && poisoned === null) return false;
    this.#doorbell?.rest();
    return true;
  }

  /** What is staged goes out, what is done comes back. Whether the ring goes on. */
  #turn(): boolean {
    const ring = this.#ring;
    if (this.#asleep) this.#wake();
    ring.scheduled = true;
    ring.turn(ROUNDS);
    ring.scheduled = false;
    return !this.#stopped();
  }

  #run(): void {
    const ring = this.#ring;
    if (!this.#turn()) return;
    if (ring.inFlight === 0 && ring.queued === 0 && ring.unsubmitted === 0) {
      this.#doorbell?.rest();
      return;
    }
    if (this.#polling) return;
    this.#wait(clockMs());
    // What the kernel has refused for now (EINTR) goes in first, or nothing would ever wake this thread.
    if ((ring.mustSleep || ring.onlySyncs) && ring.queued === 0 && ring.unsubmitted === 0) this.#sleep();
    else this.#yield();
  }

  /** One spin, from the event loop. */
  #poll(): void {
    const ring = this.#ring;
    this.#polling = false;
    this.#rounds = 0;
    this.#inlineUs = 0;
    if (this.#stopped()) return;
    const { completed, submitted } = ring;
    const waited = ring.inFlight > 0; // else what completes now has just been submitted, and was not waited for
    ring.spins++;
    if (!this.#turn()) return;
    const done = ring.completed > completed;
    if (ring.inFlight === 0 && ring.queued === 0 && ring.unsubmitted === 0) {
      if (done && waited) this.#learn(clockMs());
      this.#doorbell?.rest();
      return;
    }
    const now = clockMs();
    if (done && waited) this.#learn(now);
    if (done || !waited) this.#wait(now);
    if (ring.unsubmitted > 0) return this.#submitAgain();
    this.#refused = 0;
    // Keep submitting while the queue moves: an operation in flight may depend on a queued one.
    const moving = ring.queued > 0 && (ring.submitted > submitted || ring.inFlight === 0);
    if (moving || (!ring.contended && !ring.onlySyncs && this.spin.maySpin(now))) this.#yield();
    else this.#sleep();
  }

  /** The kernel has left SQEs in the SQ: they go in soon, or never. */
  #submitAgain(): void {
    const ring = this.#ring;
    if (ring.refusal !== 0 && !PASSING.has(ring.refusal)) {
      ring.poison(`io_uring_enter fails with ${errnoCode(ring.refusal)}`);
      return void this.#stopped();
    }
    if (ring.refusal === 0 || ++this.#refused < REFUSALS) return this.#yield();
    if (this.#refused > LAST_REFUSAL) {
      ring.poison(`io_uring_enter has failed ${LAST_REFUSAL} times in a row, last with ${errnoCode(ring.refusal)}`);
      return void this.#stopped();
    }
    if (this.#polling) return;
    this.#polling = true;
    after(1, this.#step);
  }

  #wait(now: number): void {
    this.#slept = false;
    this.#forSyncs = this.#ring.onlySyncs;
    if (!this.#forSyncs) this.spin.begin(now);
  }

  #learn(now: number): void {
    if (this.#forSyncs) return;
    if (this.#slept) this.spin.slept(now);
    else this.spin.seen(now);
  }

  #sleep(): void {
    if (this.#doorbell?.isOutdated()) this.close();
    this.#doorbell ??= openDoorbell(
      this.#ring.native,
      this.#ring.address,
      () => this.#rung(),
      (doorbell) => {
        this.#doorbell = doorbell;
        if (this.#asleep) this.#rung();
      },
    );
    if (this.#doorbell.arm() === 0) this.#asleep = this.#slept = true;
    else this.#yield();
  }

  #wake(): void {
    this.#asleep = false;
    if (!this.#ring.closed) this.#doorbell?.disarm();
  }

  /** The doorbell rang. It may ring late, for completions that another turn has reaped. */
  #rung(): void {
    if (!this.#asleep) return;
    this.#wake();
    this.#ring.wakeups++;
    if (!this.#polling) this.#poll();
  }

  /** One turn at the end of the thread, where no further one comes by itself. */
  lastTurn(): void {
    if (!this.#stopped()) this.#turn();
  }

  /** Forgets the doorbell: a better one is to be had, or the ring is about to be closed. */
  close(): void {
    this.#doorbell?.close();
    this.#doorbell = null;
  }
}
