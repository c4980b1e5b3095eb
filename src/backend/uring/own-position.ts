// A file's own position, which everybody shares who has the open file: children with the descriptor, fs.writeSync, other
// threads. The kernel moves it atomically only for what completes at once, not for O_DIRECT, a file server, or a short
// write's second try (6.18). So a transfer claims its bytes there by one lseek before it is staged, and goes to them by
// their offset; what it leaves of them is given back if nobody has moved the position since.

import { thread } from "./request.ts";

const [SEEK_SET, SEEK_CUR] = [0, 1];
/** Where the shim says how many bytes were claimed: over 1000 bytes, so that it never moves. */
const claimed = new Float64Array(128);

interface Claim {
  fd: number;
  /** Where the bytes begin, or -errno. */
  start: number;
  /** How many the position was moved by; -1 for none, in a file without a size. */
  bytes: number;
}

/**
 * Moves the file's own position by what is to be written or read. A read moves it by no more than a regular file has
 * left: beyond the end a write of somebody else's would leave a hole. What has no size, as in /proc, is not claimed.
 */
export function claim(fd: number, length: number, isRead: boolean): Claim {
  const start = thread().native.claim(fd, length, isRead ? 1 : 0, claimed);
  return { fd, start, bytes: claimed[0]! };
}

/** Moves the position to where a transfer of `moved` bytes has ended, if nobody else has moved it since. */
export function settleClaim({ fd, start, bytes }: Claim, moved: number): void {
  if (moved === bytes) return;
  const { native } = thread();
  // What is made as it is read goes back to its beginning for every seek to where its last read did not end.
  if (bytes < 0) return void native.seek(fd, moved, SEEK_CUR);
  if (native.seek(fd, 0, SEEK_CUR) === start + bytes) native.seek(fd, start + moved, SEEK_SET);
}
