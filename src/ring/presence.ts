// What those who do without a ring must know of it: whether this thread has one, and whether what is started now is to be
// cancelled one day. Apart from the ring's own code, which a program that needs none does not load.

export const presence: {
  /** This thread's ring, once it has been made; it may be closed by now. */
  ring: { readonly inFlight: number } | null;
  /** Calls of `cancellable` that are starting something. */
  cancelling: number;
} = { ring: null, cancelling: 0 };
