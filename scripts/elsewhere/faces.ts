// Writes dist/elsewhere: for each entry point a module with the same names for other runtimes than Bun. A name is node:fs/
// promises' function there, what own.js has under it, a constant, or a function that says in one sentence what is missing.

import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import * as durable from "../../src/durable.ts";
import * as index from "../../src/index.ts";
import * as promises from "../../src/promises.ts";
import * as server from "../../src/server.ts";
import * as own from "./own.js";

const isData = (value: unknown): boolean =>
  typeof value === "object" && value !== null && Object.values(value).every((one) => typeof one !== "object");

function face(exported: Record<string, unknown>): string {
  const lines = ['import * as fs from "node:fs/promises";', 'import * as own from "./own.js";', ""];
  for (const [name, value] of Object.entries(exported)) {
    if (name === "default") lines.push('export { default } from "node:fs/promises";');
    else if (name in own) lines.push(`export { ${name} } from "./own.js";`);
    else if (isData(value)) lines.push(`export const ${name} = ${JSON.stringify(value)};`);
    else lines.push(`export const ${name} = fs[${JSON.stringify(name)}] ?? own.unavailable(${JSON.stringify(name)});`);
  }
  return `${lines.join("\n")}\n`;
}

export function writeFaces(folder: string): void {
  mkdirSync(folder, { recursive: true });
  copyFileSync(`${import.meta.dir}/own.js`, `${folder}/own.js`);
  for (const [name, exported] of Object.entries({ index, promises, server, durable }))
    writeFileSync(`${folder}/${name}.js`, face(exported));
  // There node:fs is what bun-uring/fs would be, and there is nothing to register.
  writeFileSync(`${folder}/fs.js`, 'export * from "node:fs";\nexport { default } from "node:fs";\n');
  writeFileSync(`${folder}/register.js`, "export {};\n");
}
