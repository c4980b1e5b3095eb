// Owns the one case of in-place.test.ts: this package put in place of node:fs/promises for the whole process.
// Assumes a process of its own, since nothing takes that back.

import { mock } from "bun:test";
import * as standard from "node:fs/promises";
import * as ours from "../../src/promises.ts";
import { runCases } from "../helpers/cases.ts";

await runCases({
  async replaced(folder: string) {
    mock.module("node:fs/promises", () => ({ ...ours, default: ours.default }));
    const replaced = standard.readFile === ours.readFile && standard.readdir === ours.readdir;
    const path = `${folder}/a`;
    await standard.writeFile(path, "content");
    await standard.utimes(path, 1, 2);
    await standard.chmod(path, 0o600);
    const handle = await standard.open(path);
    await handle.close();
    await standard.copyFile(path, `${folder}/b`);
    await standard.cp(folder, `${folder}-copy`, { recursive: true });
    await standard.rm(`${folder}-copy`, { recursive: true });
    const names = await standard.readdir(folder);
    const real = (await standard.realpath(path)).endsWith("/a");
    await standard.rm(folder, { recursive: true });
    return { replaced, names: names.sort(), real };
  },
});
