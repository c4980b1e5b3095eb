// Closing a file through the ring: once, after every operation on it, and also where the ring itself has ended.
// Assumes that operations on the file count in its OpenFile until their CQE.

import { closeSync } from "node:fs";
import { Opcode } from "../../kernel/sqe.ts";
import { ECANCELED, EINTR } from "../../node/errno.ts";
import { existingThread } from "../../ring/context.ts";
import { type Operation, promiseFor } from "../../ring/operation.ts";
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

function closePlainly(fd: number, resolve: Operation["resolve"], reject: Operation["reject"]): void {
  try {
    closeSync(fd);
    resolve(undefined);
  } catch (error) {
    reject(error);
  }
}

/** The ring is stopped: closes now, or, where the kernel may still have operations on the file, when the ring is closed. */
function closeStopped(file: OpenFile, reason: Error): Promise<void> {
  const { fd } = file;
  file.fd = -1;
  const idle = file.inFlight === 0;
  const closed = new Promise<void>((resolve, reject) => {
    file.closing = () => {
      file.closing = null;
      closePlainly(fd, resolve, reject);
    };
    if (idle) file.closing();
  });
  if (idle) return closed;
  closed.catch(() => {}); // nobody is told any more
  return Promise.reject(reason);
}

/** The ring is closed, and with it all operations on the file are over: no new ring is made just for this. */
function closeWithoutRing(file: OpenFile): Promise<void> {
  const { fd } = file;
  file.fd = -1;
  return new Promise((resolve, reject) => closePlainly(fd, resolve, reject));
}

/** Takes the descriptor out of use, waits for the file's operations in flight, then closes. */
export function close(file: OpenFile): Promise<void> {
  if (file.fd < 0) return Promise.resolve();
  file.forgetLock?.(file.fd);
  const t = existingThread();
  if (t === null) return closeWithoutRing(file);
  if (t.ring.poisoned !== null) return closeStopped(file, t.ring.poisoned);
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
