// `bun --preload bun-uring/register app.ts`: puts this package's functions in the place of node:fs and node:fs/promises for
// a whole program, its packages and its Workers. Does nothing where the node backend is in use, which is Bun's own anyway.
// Assumes to be loaded before the program; what somebody took from node:fs before that stays Bun's. Both ways to a module
// are changed: the object that `require` and default imports give, and what named imports are bound to.

import { mock } from "bun:test";
import { wantsRing } from "./backend/choose.ts";
import { own } from "./callbacks.ts";
import promises from "./promises.ts";
import { watchModule } from "./streams/replaced.ts";

type Module = Record<string, any>;
type WorkerClass = new (...args: any[]) => object;

/** Marks node:fs, so that a second copy of this package leaves it alone. */
const registered = Symbol.for("bun-uring.registered");

/** Gives a module's own object these members, and imports of it by either name, too. */
function replace(name: string, members: Module): void {
  const module = process.getBuiltinModule(name) as Module;
  for (const [key, value] of Object.entries(members)) {
    Object.defineProperty(module, key, { value, writable: true, enumerable: true, configurable: true });
  }
  // Properties, not values: Bun loads some classes only when they are looked at.
  const exported = (): Module => Object.defineProperties({ default: module }, Object.getOwnPropertyDescriptors(module));
  mock.module(name, exported);
  mock.module(name.slice("node:".length), exported);
}

/** The same class, whose Workers load this file before anything else. Bun hands no preload on to them. */
function preloading(Worker: WorkerClass): WorkerClass {
  return new Proxy(Worker, {
    construct(target, [url, options, ...rest], newTarget): object {
      const given = { ...options };
      const preload = [import.meta.path, ...[given.preload ?? []].flat()];
      return Reflect.construct(target, [url, { ...given, preload }, ...rest], newTarget);
    },
  });
}

function register(): void {
  const fs = process.getBuiltinModule("node:fs") as unknown as { [registered]?: true };
  if (fs[registered]) return;
  Object.defineProperty(fs, registered, { value: true });
  replace("node:fs/promises", promises);
  replace("node:fs", own);
  watchModule(fs);
  globalThis.Worker = preloading(globalThis.Worker) as typeof Worker;
  const threads = process.getBuiltinModule("node:worker_threads");
  replace("node:worker_threads", { Worker: preloading(threads.Worker) });
}

if (wantsRing()) register();
