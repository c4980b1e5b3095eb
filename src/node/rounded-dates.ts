// The Dates of Stats: Node rounds milliseconds to the nearest, Bun cuts them off.
// Assumes Bun's own classes of Stats and BigIntStats, of which it makes one prototype each.

import type { BigIntStats, Stats } from "node:fs";

/** Prototypes of Bun's classes, and what stands before them. */
const rounded = new WeakMap<object, object>();

/** A prototype with Node's Dates before one of Bun's; of one there is one. */
export function withRoundedDates<T extends object>(prototype: T): T {
  const known = rounded.get(prototype);
  if (known !== undefined) return known as T;
  const dates: PropertyDescriptorMap = {};
  for (const name of ["atime", "mtime", "ctime", "birthtime"]) {
    dates[name] = {
      configurable: true,
      enumerable: true,
      get(this: Record<string, number | bigint>): Date {
        const date = new Date(Math.round(Number(this[`${name}Ms`])));
        Object.defineProperty(this, name, { value: date, configurable: true, enumerable: true, writable: true });
        return date;
      },
      set(this: object, value: unknown): void {
        Object.defineProperty(this, name, { value, configurable: true, enumerable: true, writable: true });
      },
    };
  }
  const made = Object.create(prototype, dates) as T;
  rounded.set(prototype, made);
  return made;
}

/** Stats that Bun made, with Node's Dates. */
export function roundDates<T extends Stats | BigIntStats>(stats: T): T {
  return Object.setPrototypeOf(stats, withRoundedDates(Object.getPrototypeOf(stats)));
}
