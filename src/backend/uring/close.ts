// Closing a file through the ring: once, after every operation on it, and also where the ring itself has ended.
// Assumes that operations on the file count in its OpenFile until their CQE.

import { Opcode } from "../../kernel/sqe.ts";
import { ECANCELED, EINTR } from "../../node/errno.ts";
import { existingThread } from "../../ring/context.ts";
import { closePlainly, type Operation, promiseFor } from "../../ring/operation.ts";
import type { OpenFile } from "../interface.ts";
import { begin, end, finishVoid, remoteFlag, stage } from "./request.ts";

function finishClose(operation: Operation, res: number): void {
  // Linux has let go of a descriptor whose close was interrupted. ECANCELED: no thread could be had, and it is open yet.
  if (res === ECANCELED) {
    const { resolve, reject, fd } = operation;
    end(operation);
    return closePlainly(fd, resolve, reject);
  }
  finishVoid(operation, res === EINTR ? 0 : res);
}

/** No ring will close it, and none is made for that: now, or, where the kernel may still have operations on the file, when they are over. */
function closeWithoutRing(file: OpenFile, reason: Error | null): Promise<void> {
  const { fd } = file;
  file.fd = -1;
  const isIdle = reason === null || file.inFlight === 0;
  const closed = new Promise<void>((resolve, reject) => {
    file.closing = () => {
      file.closing = null;
      closePlainly(fd, resolve, reject);
    };
    if (isIdle) file.closing();
  });
  if (isIdle) return closed;
  closed.catch(() => {}); // nobody is told any more
  return Promise.reject(reason);
}

/** Takes the descriptor out of use, waits for the file's operations in flight, then closes. */
export function close(file: OpenFile): Promise<void> {
  if (file.fd < 0) return Promise.resolve();
  file.forget?.(file.fd);
  const t = existingThread();
  if (t === null) return closeWithoutRing(file, null);
  if (t.ring.poisoned !== null) return closeWithoutRing(file, t.ring.poisoned);
  const operation = begin(t, finishClose, "close", null);
  const fd = file.fd;
  operation.fd = fd;
  file.fd = -1;
  const go = (): void => {
    file.closing = null;
    if (t.ring.closed) return closePlainly(fd, operation.resolve, operation.reject); // there is no more waiting
    stage(t, operation, Opcode.CLOSE, file.remote ? remoteFlag(t, operation) : 0, fd, 0, 0, 0, 0);
  };
  if (file.inFlight === 0) go();
  else file.closing = go;
  return promiseFor(operation);
}
