// What is loaded by the first call that needs it. Reading a module takes a descriptor: where none is left, that is the error of
// an open, as the call itself would have met it, and the next call tries again.

import { errnoOf, systemError } from "./errors.ts";

/** `load`, once. */
export function later<T>(load: () => T): () => T {
  let loaded: T | null = null;
  return () => {
    if (loaded === null) {
      try {
        loaded = load();
      } catch (error) {
        throw asNodes(error);
      }
    }
    return loaded;
  };
}

function asNodes(error: unknown): unknown {
  const code = /^(EMFILE|ENFILE)\b/.exec(String((error as Error | null)?.message))?.[1];
  return code === undefined ? error : systemError(errnoOf(code), "open");
}
