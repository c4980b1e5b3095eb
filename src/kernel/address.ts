// The address of a view's bytes, as the kernel is told it.
// Assumes that the view is not detached.

import { bufferOf } from "../node/views.ts";
import { type Address, addressOf } from "./shim.ts";

/** Address of `view[offset]`. Reading `.buffer` first moves a small view's data to where it will stay. */
export function stableAddress(view: ArrayBufferView, offset: number): Address {
  void bufferOf(view);
  return addressOf(view) + offset;
}
