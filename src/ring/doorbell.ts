// The wake-up: how completions reach Bun's event loop while it sleeps. Two kinds behind one interface: the ring
// writes a byte into a socket that Bun watches, or, where that can't be had, a timer looks now and then.
// A doorbell keeps the process alive only while it is held.

import type { Address, Native } from "../kernel/shim.ts";
import { after, clockMs } from "../node/clock.ts";

export interface Doorbell {
  readonly kind: "socket" | "timer";
  /** A better one could not be had for the moment; now it may. */
  isOutdated(): boolean;
  /**
   * Before sleeping. 0: asleep, `ring` will be called when a CQE comes. 1: CQEs are there, don't sleep.
   * -1: not ready yet (it is being opened), come again.
   */
  arm(): number;
  /** Awake again: completions need not ring. */
  disarm(): void;
  /** Nothing is in flight: the process may end. */
  rest(): void;
  close(): void;
}

/** Failures to arm in a row after which the bell is given up. */
const FAILURES = 16;
/** Milliseconds for which a timer does where no socket could be opened. */
const RETRY_MS = 250;

/** Watches one end of a socketpair; a second, plain ring writes a byte to the other end when the first has a CQE. */
class SocketDoorbell implements Doorbell {
  readonly kind = "socket";
  #socket: Bun.Socket<undefined> | null = null;
  #held = false;
  #failed: (() => void) | null;
  #failures = 0;
  readonly #native: Native;
  readonly #ring: Address;

  constructor(native: Native, ring: Address, fd: number, ring_: () => void, failed: () => void) {
    this.#native = native;
    this.#ring = ring;
    this.#failed = failed;
    const fail = (): void => this.#giveUp();
    // `fd` takes the socket over: Bun closes it with the socket.
    const connect = async (): Promise<Bun.Socket<undefined>> =>
      Bun.connect({
        fd,
        socket: { data: ring_, close: fail, error: fail },
      } as unknown as Bun.TCPSocketConnectOptions<undefined>);
    connect().then((socket) => {
      if (this.#failed === null) return void socket.end();
      this.#socket = socket;
      if (!this.#held) socket.unref();
    }, fail);
  }

  #giveUp(): void {
    const failed = this.#failed;
    this.close();
    failed?.();
  }

  isOutdated(): boolean {
    return false;
  }

  arm(): number {
    if (this.#socket === null) return -1;
    const rc = this.#native.arm(this.#ring);
    if (rc < 0) {
      if (++this.#failures === FAILURES) this.#giveUp();
      return -1;
    }
    this.#failures = 0;
    if (rc === 1) return 1;
    if (!this.#held) {
      this.#held = true;
      this.#socket.ref();
    }
    return 0;
  }

  disarm(): void {
    this.#native.disarm(this.#ring);
  }

  rest(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#socket?.unref();
  }

  close(): void {
    this.#failed = null;
    this.#socket?.end();
    this.#socket = null;
  }
}

/** Looks by timer: 1 ms after going to sleep, then at most every 4 ms. */
class TimerDoorbell implements Doorbell {
  readonly kind = "timer";
  readonly #ring: () => void;
  #cancel: (() => void) | null = null;
  #waitMs = 1;
  readonly #outdatedMs: number;

  /** `forMs`: how long before something better is tried again. */
  constructor(ring: () => void, forMs: number) {
    this.#ring = ring;
    this.#outdatedMs = clockMs() + forMs;
  }

  isOutdated(): boolean {
    return clockMs() > this.#outdatedMs;
  }

  arm(): number {
    this.#cancel ??= after(this.#waitMs, () => {
      this.#cancel = null;
      this.#ring();
    });
    this.#waitMs = Math.min(4, this.#waitMs * 2);
    return 0;
  }

  disarm(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  rest(): void {
    this.#waitMs = 1;
  }

  close(): void {
    this.disarm();
  }
}

/**
 * Opens the best doorbell there is. `ring` is called on each wake-up; `replace` with the doorbell to use from then on if
 * the socket turns out not to work.
 */
export function openDoorbell(
  native: Native,
  address: Address,
  ring: () => void,
  replace: (doorbell: Doorbell) => void,
): Doorbell {
  const fd = native.bellOpen(address);
  if (fd < 0) return new TimerDoorbell(ring, RETRY_MS); // no descriptor free, perhaps
  return new SocketDoorbell(native, address, fd, ring, () =>
    replace(new TimerDoorbell(ring, Number.POSITIVE_INFINITY)),
  );
}
