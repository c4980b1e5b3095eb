// receive: a request's body to a file, at a path or beneath a root. How it gets there is in receive-body.ts.
// Assumes that nobody else reads the body.

import { invalidArgType } from "../node/arguments.ts";
import { toPath } from "../node/path.ts";
import { type Received, type ReceiveOptions, receiveBody } from "./receive-body.ts";
import { Root } from "./root.ts";

/** Where a body goes: a path, or a name beneath a root. */
export type Target = string | URL | { root: Root; name: string };

/**
 * Takes a request's body to a file, which is published in one step when it is whole: what is aborted, too long or fails leaves
 * the old file as it was, and nothing else. Rejects with a ReceiveError, which knows the status to answer with.
 */
export async function receive(
  request: Request | Response,
  target: Target,
  options: ReceiveOptions = {},
): Promise<Received> {
  if (target !== null && typeof target === "object" && "root" in target) {
    const { root, name } = target;
    if (!(root instanceof Root)) throw invalidArgType("target.root", ["Root"], root);
    return root.receive(request, name, options);
  }
  const path = toPath(target).toString();
  return receiveBody(request, (act) => act(path), options);
}
