// Timers and clocks of the runtime itself, taken when the package is loaded: a program's tests put a fake clock in the
// place of the globals, and file I/O goes on under it. Everything in src takes them from here (test/tidy.test.ts).
// Bun's own jest.useFakeTimers() goes deeper: native timers set meanwhile never fire and performance.now() stands still,
// whoever has a reference. Only `after` is proof against that; what measures time must bear a clock that stands or jumps.

type Timers = typeof globalThis & { [name: string]: unknown };

/** A global as the runtime made it. Where a fake is there already, node:timers may still have it, or the fake's clock. */
function original<K extends keyof typeof globalThis>(name: K): (typeof globalThis)[K] {
  const isNative = (value: unknown): boolean => Function.prototype.toString.call(value).includes("[native code]");
  const found = globalThis[name] as any;
  if (isNative(found)) return found;
  const timers = process.getBuiltinModule("node:timers") as unknown as Timers;
  const known = [timers[name], found.clock?.[`_${String(name)}`]];
  return known.find((value) => typeof value === "function" && isNative(value)) ?? found;
}

export const setImmediate: typeof globalThis.setImmediate = original("setImmediate");
export const setTimeout: typeof globalThis.setTimeout = original("setTimeout");
export const clearTimeout: typeof globalThis.clearTimeout = original("clearTimeout");
export const queueMicrotask: typeof globalThis.queueMicrotask = original("queueMicrotask");
export const nextTick: typeof process.nextTick = process.nextTick;
/** Milliseconds on a clock that never goes back, except when Bun's fake timers are put in or taken away. Bound: a short program compiles no function for it. */
export const clockMs: () => number = performance.now.bind(performance);
/** Milliseconds since 1970. */
export const epochMs: () => number = Date.now;

const { waitAsync } = Atomics as unknown as {
  waitAsync?: (cell: Int32Array, index: number, value: number, ms: number) => { value: Promise<unknown> };
};
/** Nobody ever notifies it. */
const cell = new Int32Array(new SharedArrayBuffer(4));

/** Looks at a clock that moves a few times at the most: its resolution is far below the time that takes. */
function standsStill(): boolean {
  const start = clockMs();
  for (let i = 0; i < 64; i++) if (clockMs() !== start) return false;
  return true;
}

/**
 * Calls back once, after so many milliseconds, also where native timers stand still. Keeps the process alive meanwhile
 * (under fake timers the test runner does). For short waits: one that is called off is forgotten only when it is over.
 */
export function after(ms: number, callback: () => void): () => void {
  if (waitAsync !== undefined && standsStill()) {
    let due = true;
    void waitAsync(cell, 0, 0, ms).value.then(() => {
      if (due) callback();
    });
    return () => {
      due = false;
    };
  }
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
}
