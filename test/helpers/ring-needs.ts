// Owns what a test needs of the ring that an older kernel may not have, as the reason for its skip.
// Assumes that whoever asks may make this thread's ring. What the machine lacks beside: requirements.ts.

import { backend, capabilities, type OpcodeName, Ring } from "../../src/index.ts";

type Feature =
  | "direct descriptors"
  | "direct descriptors that close at once"
  | "fixed buffers"
  | "plain calls that can't block"
  | "limits of io-wq"
  | "restrictions"
  | "cancellation without an SQE";

export type RingNeed = Feature | OpcodeName;

const features: Record<Feature, () => boolean> = {
  "direct descriptors": () => capabilities().limits.directDescriptors > 0, // 5.15
  "direct descriptors that close at once": () =>
    capabilities().limits.directDescriptors > 0 && !capabilities().lateClose, // 6.12
  "fixed buffers": () => capabilities().limits.fixedBuffers > 0, // 5.13
  "plain calls that can't block": () => capabilities().cachedLookups, // 5.12
  "limits of io-wq": () => capabilities().limits.workers.bounded > 0, // 5.15
  restrictions: () => capabilities().restricted, // 5.10
  // Of 6.0, as that flag is: an SQE that cancels waits behind a drain.
  "cancellation without an SQE": () => hasFlag("SINGLE_ISSUER"),
};

const hasFlag = (name: string): boolean => capabilities().setupFlags.some((flag) => flag === name);

/** Why a test that needs all of these can't run here; false where it can. */
export function lacking(...needs: readonly RingNeed[]): string | false {
  if (backend !== "io_uring") return "no ring";
  const { opcodes } = Ring.current();
  const has = (need: RingNeed): boolean =>
    need in features ? features[need as Feature]() : opcodes.has(need as OpcodeName);
  const missing = needs.filter((need) => !has(need));
  return missing.length > 0 && `no ${missing.join(", ")} in this kernel`;
}
