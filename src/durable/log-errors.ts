// What an AppendLog rejects with, beside the errors of its file.

import { codedError } from "../node/arguments.ts";

export const logClosed = (path: string): Error => codedError(Error, "ERR_LOG_CLOSED", `${path} is closed`);

export const logFull = (path: string, bytes: number): Error =>
  codedError(Error, "ERR_LOG_FULL", `${path}: ${bytes} bytes wait to be written`);

/** `safeOffset`: up to there all is well. */
export function logFailed(path: string, cause: Error, safeOffset: number): Error {
  const error = codedError(Error, "ERR_LOG_FAILED", `${path}: nothing more is appended: ${cause.message}`);
  return Object.assign(error, { cause, safeOffset });
}
