// Past the page cache: a whole file is read with O_DIRECT into the aligned buffers of a pool, eight pieces in flight.
// Run it: bun examples/direct.ts [FILE]. Reads the file, changes nothing; the file system must know O_DIRECT (tmpfs doesn't before 6.6).

import { BufferPool, constants, open } from "../src/index.ts";

const path = process.argv[2] ?? process.execPath;
const PIECE_BYTES = 128 * 1024;

await using file = await open(path, constants.O_RDONLY | constants.O_DIRECT);
const { size } = await file.stat();
const pool = new BufferPool({ size: PIECE_BYTES, count: 8 });

async function checksum(position: number): Promise<number> {
  using lease = await pool.acquire();
  const { bytesRead } = await file.read(lease.bytes, 0, PIECE_BYTES, position);
  return Bun.hash.crc32(lease.bytes.subarray(0, bytesRead));
}

const started = performance.now();
const pieces = Array.from({ length: Math.ceil(size / PIECE_BYTES) }, (_, i) => checksum(i * PIECE_BYTES));
const sum = (await Promise.all(pieces)).reduce((all, one) => (all ^ one) >>> 0, 0);
const seconds = (performance.now() - started) / 1000;
pool.close();
console.log(
  `${path}: ${size} bytes from the disk, ${(size / 1e6 / seconds).toFixed(0)} MB/s, checksums ${sum.toString(16)}`,
);
