// Puts the module that PROMISES names in the place of node:fs/promises for all that is loaded afterwards. Without it Bun's own stays.

import { mock } from "bun:test";

const target = process.env.PROMISES;
if (target) {
  const { default: ours } = await import(target);
  const object = process.getBuiltinModule("node:fs/promises");
  for (const [name, value] of Object.entries(ours)) object[name] = value;
  const replaced = () => ({ ...object, default: object });
  mock.module("node:fs/promises", replaced);
  mock.module("fs/promises", replaced);
}
