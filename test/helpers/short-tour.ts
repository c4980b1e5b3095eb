// Owns a short tour of the API for children under a fault: a third of a second, and results that can be compared.
// Assumes an empty folder. Never names a backend.

import * as fs from "../../src/index.ts";
import { outcome } from "./cases.ts";

/** Touches each part of the API once; the results must not depend on the backend. */
export async function tour(dir: string): Promise<unknown[]> {
  const file = `${dir}/tour`;
  const big = Buffer.alloc(300_000, "0123456789abcdef");
  const results: unknown[] = [];
  await fs.writeFile(file, big);
  results.push((await fs.readFile(file)).equals(big));
  await fs.appendFile(file, "tail");
  const handle = await fs.open(file, "r+");
  const { bytesRead, buffer } = await handle.read(Buffer.alloc(10), 2, 8, 299_998);
  results.push(bytesRead, buffer.toString("latin1"));
  results.push((await handle.write("xyz", 3)).bytesWritten, (await handle.stat()).size);
  await handle.sync();
  await handle.truncate(5);
  await handle.close();
  results.push(await fs.readFile(file, "utf8"), await outcome(handle.stat()));
  await fs.copyFile(file, `${file}2`);
  await fs.rename(`${file}2`, `${file}3`);
  results.push((await fs.stat(`${file}3`)).size, await outcome(fs.stat(`${file}2`)));
  results.push((await fs.lstat(`${file}3`)).isFile(), await outcome(fs.lstat(`${file}2`)));
  results.push((await fs.readMany([file, `${file}3`])).length);
  await fs.mkdir(`${dir}/tree/sub`, { recursive: true });
  await fs.writeFile(`${dir}/tree/sub/file`, "in a folder");
  await fs.cp(`${dir}/tree`, `${dir}/tree2`, { recursive: true });
  await fs.copyTree(`${dir}/tree2`, `${dir}/tree3`);
  results.push(await fs.readFile(`${dir}/tree3/sub/file`, "utf8"));
  for (const tree of ["tree", "tree2", "tree3"]) await fs.rm(`${dir}/${tree}`, { recursive: true });
  await fs.mkdir(`${dir}/sub`);
  results.push(await outcome(fs.mkdir(`${dir}/sub`)), await outcome(fs.readFile(`${dir}/sub`)));
  results.push(await outcome(fs.writeFile(`${dir}/none/x`, "")), await outcome(fs.rmdir(dir)));
  for (const name of [file, `${file}3`]) await fs.unlink(name);
  await fs.rmdir(`${dir}/sub`);
  return results;
}
