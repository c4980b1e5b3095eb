// Owns views and options that are not what they say: own properties, getters that throw or change their answer.
// Assumes a true view, whose memory is what may be touched. Never runs anything but when it is asked.

import type { Random } from "../model/operations.ts";

const LIE = 1 << 20;

class Throwing extends Uint8Array<ArrayBuffer> {
  override get byteLength(): number {
    throw new Error("byteLength was asked");
  }
  override get byteOffset(): number {
    throw new Error("byteOffset was asked");
  }
  override get length(): number {
    throw new Error("length was asked");
  }
}

type Lie = (view: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>;
const offsetOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), "byteOffset")!.get!;

/** The truth so often, and then more. */
const wavering =
  (truths: number): Lie =>
  (view) => {
    let asked = 0;
    const { byteLength } = view;
    return Object.defineProperty(view, "byteLength", { get: () => (asked++ < truths ? byteLength : LIE) });
  };

const LIES: readonly Lie[] = [
  (view) => view,
  (view) => Object.defineProperty(view, "byteLength", { value: LIE }),
  (view) => Object.defineProperties(view, { length: { value: LIE }, byteLength: { value: LIE } }),
  (view) => Object.defineProperties(view, { buffer: { value: new ArrayBuffer(16) }, byteOffset: { value: 0 } }),
  (view) => new Throwing(view.buffer, offsetOf.call(view), view.byteLength),
  wavering(1),
  wavering(3),
];

/** The same memory, by a view that lies about itself, or not. */
export function lying(random: Random, view: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return random.pick(LIES)(view);
}

/** An object whose getters say the truth once, and `later` from then on. */
export function wavers<T extends object>(truth: T, later: { [K in keyof T]?: unknown }): T {
  const object = {} as T;
  for (const name of Object.keys(truth) as (keyof T)[]) {
    let asked = 0;
    Object.defineProperty(object, name, {
      enumerable: true,
      get: () => (asked++ === 0 || !(name in later) ? truth[name] : later[name]),
    });
  }
  return object;
}
