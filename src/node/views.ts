// What a view really is: its bytes, its buffer, and whether that can be resized or is gone. Read by the runtime's own
// getters, taken when the package is loaded, as a view may lie about itself: own properties, getters of a subclass that
// throw or change their answer, a Proxy (which is no view). Never runs the user's code.

type View = ArrayBufferView;

const getterOf = (prototype: object, name: string): ((this: unknown) => any) =>
  Object.getOwnPropertyDescriptor(prototype, name)!.get!;

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object;
const [typedBuffer, typedOffset, typedLength] = ["buffer", "byteOffset", "byteLength"].map((name) =>
  getterOf(typedArray, name),
) as [() => ArrayBufferLike, () => number, () => number];
const [dataBuffer, dataOffset, dataLength] = ["buffer", "byteOffset", "byteLength"].map((name) =>
  getterOf(DataView.prototype, name),
) as [() => ArrayBufferLike, () => number, () => number];
const typedName = getterOf(typedArray, Symbol.toStringTag as never) as () => string | undefined;
const detached = getterOf(ArrayBuffer.prototype, "detached") as () => boolean;
const resizable = getterOf(ArrayBuffer.prototype, "resizable") as () => boolean;
const growable = getterOf(SharedArrayBuffer.prototype, "growable") as () => boolean;

/** Buffer, typed array or DataView; nothing else, whatever it claims. */
export const isView: (value: unknown) => value is NodeJS.ArrayBufferView = ArrayBuffer.isView as never;

/** Whether this is a Uint8Array, also one of another realm. */
export function isBytes(value: unknown): value is Uint8Array {
  return isView(value) && typedName.call(value as never) === "Uint8Array";
}

/** Bytes of a view; 0 if its memory is gone. */
export function byteLengthOf(view: View): number {
  try {
    return typedLength.call(view as never);
  } catch {
    // a DataView, whose own getter throws when the memory is gone
  }
  try {
    return dataLength.call(view as never);
  } catch {
    return 0;
  }
}

/** Where the view begins in its buffer; 0 if its memory is gone. */
export function byteOffsetOf(view: View): number {
  try {
    return typedOffset.call(view as never);
  } catch {
    // as above
  }
  try {
    return dataOffset.call(view as never);
  } catch {
    return 0;
  }
}

/** The view's buffer. Asking for it moves a small view's data to where it stays. */
export function bufferOf(view: View): ArrayBufferLike {
  try {
    return typedBuffer.call(view as never);
  } catch {
    return dataBuffer.call(view as never);
  }
}

/** A view's bytes, whatever its elements are, as a plain Uint8Array that nobody else has. */
export function bytesOf(view: View): Uint8Array<any> {
  return new Uint8Array(bufferOf(view), byteOffsetOf(view), byteLengthOf(view));
}

/** Bytes of several views. */
export function totalLength(views: readonly View[]): number {
  let total = 0;
  for (const view of views) total += byteLengthOf(view);
  return total;
}

/** Whether `transfer` has taken the view's memory away. */
export function isDetached(view: View): boolean {
  const buffer = bufferOf(view);
  try {
    return detached.call(buffer as never);
  } catch {
    return false; // shared memory stays
  }
}

/** Whether the view's memory can be taken away by `resize()`. */
export function isResizable(view: View): boolean {
  const buffer = bufferOf(view);
  try {
    return resizable.call(buffer as never);
  } catch {
    return growable.call(buffer as never);
  }
}
