// How public functions and classes look from outside. A bundler gives another name to what two of its files call the same
// (readFile2), and stacks, console.log and wrappers show it; scripts/bundle.ts calls `named` for each entry's exports.
// Assumes plain functions and classes; nothing else of them is changed.

/** Gives each function and class its key as its name. */
export function named(all: object): void {
  for (const [name, value] of Object.entries(all)) {
    if (typeof value === "function") Object.defineProperty(value, "name", { value: name, configurable: true });
  }
}

/** Gives a function Node's `Function.length`. */
export function withLength<F extends object>(call: F, length: number): F {
  return Object.defineProperty(call, "length", { value: length, configurable: true });
}

/** The same for several members. */
export function withLengths(all: object, lengths: Readonly<Record<string, number>>): void {
  for (const name in lengths) withLength((all as Record<string, object>)[name]!, lengths[name]!);
}
