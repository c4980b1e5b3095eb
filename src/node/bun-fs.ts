// Bun's own node:fs/promises, as it was when this package was loaded.
// Assumes that a program may put this package in its place, for everybody and so for us too (mock.module does): without a
// copy, what is delegated would come back for ever.

import * as current from "node:fs/promises";

export const bun: typeof current = { ...current };
