// Argument checks: Node's classes, codes and texts, pinned one by one.
// validate-node.test.ts compares the same checks with a real node.

import { describe, expect, test } from "bun:test";
import * as check from "../../src/node/arguments.ts";

interface Seen {
  class: string;
  name: string;
  code: string;
  message: string;
  keys: string[];
  text: string;
  head: string;
}

/** Everything of an error that a program can see and that Node fixes. */
function seen(error: any): Seen {
  return {
    class: error.constructor.name,
    name: error.name,
    code: error.code,
    message: error.message,
    keys: Object.keys(error),
    text: String(error),
    head: error.stack.slice(0, error.stack.indexOf("\n    at")),
  };
}

function thrown(call: () => unknown): Seen | "returned" {
  try {
    call();
    return "returned";
  } catch (error) {
    return seen(error);
  }
}

function message(call: () => unknown): string {
  const result = thrown(call);
  if (result === "returned") return result;
  // Class, code and message must fit together whatever the message is.
  expect(result.class).toBe(result.code === "ERR_OUT_OF_RANGE" ? "RangeError" : "TypeError");
  expect(result).toMatchObject({ name: result.class, keys: ["code"] });
  expect(result.text).toBe(`${result.name} [${result.code}]: ${result.message}`);
  expect(result.head).toBe(result.text);
  return `${result.code} ${result.message}`;
}

describe("ERR_INVALID_ARG_TYPE", () => {
  const text = (name: string, expected: string | string[], actual: unknown): string =>
    check.invalidArgType(name, expected, actual).message;

  test("says what was expected: types, then classes, then other wordings", () => {
    expect(text("a", "string", undefined)).toBe('The "a" argument must be of type string. Received undefined');
    expect(text("a", ["string", "number"], null)).toBe(
      'The "a" argument must be one of type string or number. Received null',
    );
    expect(text("a", ["string", "Buffer", "URL"], 1)).toStartWith(
      'The "a" argument must be of type string or an instance of Buffer or URL. ',
    );
    expect(text("a", ["string", "Object"], 1)).toStartWith('The "a" argument must be one of type string or object. ');
    expect(text("a", ["Buffer", "TypedArray", "DataView"], 1)).toStartWith(
      'The "a" argument must be an instance of Buffer, TypedArray, or DataView. ',
    );
    expect(text("a", ["Object", "Buffer"], 1)).toStartWith(
      'The "a" argument must be an instance of Buffer or Object. ',
    );
    expect(text("a", "ArrayBufferView[]", 1)).toStartWith('The "a" argument must be an ArrayBufferView[]. ');
    expect(text("a", ["integer", "bigint"], 1)).toStartWith('The "a" argument must be of type bigint or integer. ');
    expect(text("a", ["Date", "Time in seconds"], 1)).toStartWith(
      'The "a" argument must be an instance of Date or an Time in seconds. ',
    );
    expect(text("a", ["this", "that"], 1)).toStartWith('The "a" argument must be one of this or that. ');
  });

  test("calls a dotted name a property and leaves 'first argument' as it is", () => {
    expect(text("options.signal", "AbortSignal", 1)).toStartWith(
      'The "options.signal" property must be an instance of ',
    );
    expect(text("first argument", "string", 1)).toStartWith("The first argument must be of type string. ");
  });

  test.each([
    ["undefined", undefined],
    ["null", null],
    ["type number (5)", 5],
    ["type number (-0)", -0],
    ["type number (NaN)", Number.NaN],
    ["type bigint (10n)", 10n],
    ["type boolean (true)", true],
    ["type symbol (Symbol(q))", Symbol("q")],
    ["type string ('')", ""],
    ["type string ('a\nb')", "a\nb"],
    ['type string ("it\'s")', "it's"],
    ["type string ('1234567890123456789012345678')", "1234567890123456789012345678"],
    ["type string ('1234567890123456789012345...')", "12345678901234567890123456789"],
    ["function ", () => {}],
    ["function named", function named() {}],
    ["an instance of Object", {}],
    ["an instance of Array", [1]],
    ["an instance of Date", new Date(0)],
    ["an instance of Foo", new (class Foo {})()],
    ["[Object: null prototype] {}", Object.create(null)],
    ["{}", Object.create({ constructor: undefined })],
  ])("says what came: %s", (received, value) => {
    expect(text("a", "Thing", value)).toBe(`The "a" argument must be an instance of Thing. Received ${received}`);
  });
});

describe("ERR_INVALID_ARG_VALUE and ERR_OUT_OF_RANGE", () => {
  test("show the value as util.inspect does, cut at 128 characters", () => {
    expect(check.invalidArgValue("flags", "zz").message).toBe("The argument 'flags' is invalid. Received 'zz'");
    expect(check.invalidArgValue("options.x", "a\0b", "is bad").message).toBe(
      "The property 'options.x' is bad. Received 'a\\x00b'",
    );
    expect(check.invalidArgValue("b", Buffer.from([0, 1])).message).toBe(
      "The argument 'b' is invalid. Received <Buffer 00 01>",
    );
    expect(check.invalidArgValue("s", "y".repeat(127)).message).toBe(
      `The argument 's' is invalid. Received '${"y".repeat(127)}...`,
    );
  });

  test.each([
    ["1.5", 1.5],
    ["-1", -1],
    ["4294967296", 4294967296],
    ["4_294_967_297", 4294967297],
    ["-4_294_967_297", -4294967297],
    ["9_007_199_254_740_992", 2 ** 53],
    ["123_456_789_012", 123456789012],
    ["-123_456_789_012", -123456789012],
    ["Infinity", Number.POSITIVE_INFINITY],
    ["4294967296n", 4294967296n],
    ["1_099_511_627_776n", 2n ** 40n],
    ["-1_099_511_627_776n", -(2n ** 40n)],
    ["'x'", "x"],
  ])("out of range shows %s", (shown, value) => {
    expect(check.outOfRange("n", "small", value).message).toBe(
      `The value of "n" is out of range. It must be small. Received ${shown}`,
    );
  });
});

describe("numbers", () => {
  test("validateInteger", () => {
    expect(message(() => check.validateInteger(0, "n"))).toBe("returned");
    expect(message(() => check.validateInteger(Number.MIN_SAFE_INTEGER, "n"))).toBe("returned");
    expect(message(() => check.validateInteger("1", "n"))).toStartWith("ERR_INVALID_ARG_TYPE");
    expect(message(() => check.validateInteger(1n, "n"))).toStartWith("ERR_INVALID_ARG_TYPE");
    expect(message(() => check.validateInteger(Number.NaN, "n"))).toBe(
      'ERR_OUT_OF_RANGE The value of "n" is out of range. It must be an integer. Received NaN',
    );
    expect(message(() => check.validateInteger(2 ** 53, "n"))).toBe(
      'ERR_OUT_OF_RANGE The value of "n" is out of range. It must be >= -9007199254740991 && <= 9007199254740991. Received 9_007_199_254_740_992',
    );
    expect(message(() => check.validateInteger(-2, "n", -1, 7))).toBe(
      'ERR_OUT_OF_RANGE The value of "n" is out of range. It must be >= -1 && <= 7. Received -2',
    );
    expect(message(() => check.validateInteger(8, "n", -1, 7))).toContain(">= -1 && <= 7. Received 8");
  });

  test("validateInt32 and validateUint32", () => {
    for (const value of [-(2 ** 31), 2 ** 31 - 1])
      expect(message(() => check.validateInt32(value, "n"))).toBe("returned");
    for (const value of [0, 2 ** 32 - 1]) expect(message(() => check.validateUint32(value, "n"))).toBe("returned");
    expect(message(() => check.validateInt32(2 ** 31, "n"))).toContain(
      ">= -2147483648 && <= 2147483647. Received 2147483648",
    );
    expect(message(() => check.validateUint32(-1, "n"))).toContain(">= 0 && <= 4294967295. Received -1");
    expect(message(() => check.validateUint32(2 ** 32, "n"))).toContain(">= 0 && <= 4294967295. Received 4294967296");
    expect(message(() => check.validateUint32(0, "n", true))).toContain(">= 1 && <= 4294967295. Received 0");
    expect(message(() => check.validateUint32(0.5, "n"))).toContain("must be an integer. Received 0.5");
  });
});

describe("other kinds of values", () => {
  test("booleans, strings and functions", () => {
    expect(message(() => check.validateBoolean(false, "b"))).toBe("returned");
    expect(message(() => check.validateBoolean(0, "options.b"))).toBe(
      'ERR_INVALID_ARG_TYPE The "options.b" property must be of type boolean. Received type number (0)',
    );
    expect(message(() => check.validateString("", "s"))).toBe("returned");
    expect(message(() => check.validateString(1, "s"))).toContain("must be of type string. Received type number (1)");
    expect(message(() => check.validateFunction(() => 1, "f"))).toBe("returned");
    expect(message(() => check.validateFunction({}, "f"))).toContain(
      "must be of type function. Received an instance of Object",
    );
  });

  test("objects", () => {
    for (const value of [{}, Object.create(null), new Map()]) {
      expect(message(() => check.validateObject(value, "o"))).toBe("returned");
    }
    expect(message(() => check.validateObject(null, "o", true))).toBe("returned");
    expect(message(() => check.validateObject(null, "o"))).toContain("must be of type object. Received null");
    expect(message(() => check.validateObject([], "o"))).toContain("Received an instance of Array");
    expect(message(() => check.validateObject(() => {}, "o", true))).toContain("Received function ");
    expect(message(() => check.validateObject(undefined, "o", true))).toContain("Received undefined");
  });

  test("abort signals are real ones: what only looks like one is refused", () => {
    for (const value of [undefined, new AbortController().signal, AbortSignal.abort(), AbortSignal.timeout(9)]) {
      expect(message(() => check.validateAbortSignal(value, "signal"))).toBe("returned");
    }
    const { signal } = new AbortController();
    const looks = Object.assign(new EventTarget(), { aborted: false });
    for (const value of [null, {}, 5, "x", { aborted: false }, looks, new Proxy(signal, {}), Object.create(signal)]) {
      expect(message(() => check.validateAbortSignal(value, "signal"))).toContain("must be an instance of AbortSignal");
    }
  });

  test("encodings", () => {
    for (const value of [undefined, null, "", "utf8", "UTF-8", "hex", "latin1"]) {
      expect(message(() => check.validateEncoding(value))).toBe("returned");
    }
    for (const value of ["zz", 5, {}]) {
      expect(message(() => check.validateEncoding(value))).toContain(
        "The argument 'encoding' is invalid encoding. Received ",
      );
    }
    expect(message(() => check.validateStringData("abcd", "hex"))).toBe("returned");
    expect(message(() => check.validateStringData("abc", "utf8"))).toBe("returned");
    expect(message(() => check.validateStringData("abc", undefined))).toBe("returned");
    expect(message(() => check.validateStringData("abc", "HEX"))).toBe(
      "ERR_INVALID_ARG_VALUE The argument 'encoding' is invalid for data of length 3. Received 'HEX'",
    );
  });

  test("one of a list", () => {
    expect(message(() => check.validateOneOf("dir", "type", ["dir", null]))).toBe("returned");
    expect(message(() => check.validateOneOf("x", "type", ["dir", null, undefined]))).toBe(
      "ERR_INVALID_ARG_VALUE The argument 'type' must be one of: 'dir', null, undefined. Received 'x'",
    );
  });

  test("buffers and arrays of them", () => {
    const views = [Buffer.alloc(1), new Float64Array(1), new DataView(new ArrayBuffer(1)), new Uint8Array(0)];
    for (const value of views) expect(message(() => check.validateBuffer(value))).toBe("returned");
    for (const value of [undefined, "x", new ArrayBuffer(1), [1], { byteLength: 1 }]) {
      expect(message(() => check.validateBuffer(value))).toContain(
        'The "buffer" argument must be an instance of Buffer, TypedArray, or DataView. Received ',
      );
    }
    for (const value of [[], views]) expect(message(() => check.bufferList(value))).toBe("returned");
    for (const value of [Buffer.alloc(1), undefined, [views[0], "x"], [new ArrayBuffer(1)]]) {
      expect(message(() => check.bufferList(value))).toContain('The "buffers" argument must be an ArrayBufferView[]. ');
    }
  });
});

function detached(): Uint8Array {
  const view = new Uint8Array(8);
  structuredClone(view.buffer, { transfer: [view.buffer] });
  return view;
}

describe("the range of a read", () => {
  const read = (byteLength: number, offset: unknown, length: unknown): string =>
    message(() => check.validateReadRange(Buffer.alloc(byteLength), offset, length));

  test("lets through what fits, and any offset with a length of 0", () => {
    for (const [offset, length] of [
      [0, 4],
      [3, 1],
      [4, 0],
      [5, 0],
    ]) {
      expect(read(4, offset, length)).toBe("returned");
    }
    expect(read(0, 0, 0)).toBe("returned");
  });

  test("is counted in bytes, whatever the elements", () => {
    const view = new Float64Array(2);
    expect(message(() => check.validateReadRange(view, 9, 7))).toBe("returned");
    expect(message(() => check.validateReadRange(view, 9, 8))).toContain("It must be <= 7. Received 8");
  });

  test("refuses the rest as Node does", () => {
    expect(read(4, -1, 4)).toContain('"offset" is out of range. It must be >= 0 && <= 9007199254740991. Received -1');
    expect(read(4, 1.5, 0)).toContain('"offset" is out of range. It must be an integer');
    expect(read(4, "0", 4)).toContain('"offset" argument must be of type number');
    expect(read(4, 0, 5)).toContain('"length" is out of range. It must be <= 4. Received 5');
    expect(read(4, 2, 3)).toContain('"length" is out of range. It must be <= 2. Received 3');
    expect(read(4, 0, -1)).toContain('"length" is out of range. It must be >= 0. Received -1');
    expect(read(4, 5, -1)).toContain('"length" is out of range. It must be >= 0. Received -1');
    expect(read(4, 5, 1)).toContain('"length" is out of range. It must be <= -1. Received 1');
    expect(read(4, 0, 1.5)).toContain('"length" is out of range. It must be an integer. Received 1.5');
    expect(read(4, 0, Number.NaN)).toContain('"length" is out of range. It must be an integer. Received NaN');
    expect(read(4, 0, "3")).toContain('"length" argument must be of type number');
    expect(read(0, 0, 1)).toBe(
      "ERR_INVALID_ARG_VALUE The argument 'buffer' is empty and cannot be written. Received <Buffer >",
    );
  });

  test("refuses a detached buffer, even for nothing", () => {
    for (const length of [0, 8]) {
      expect(message(() => check.validateReadRange(detached(), 0, length))).toBe(
        "ERR_INVALID_ARG_VALUE The argument 'buffer' must not be detached. Received Uint8Array(0) []",
      );
    }
  });
});

describe("the range of a write", () => {
  const write = (byteLength: number, offset: unknown, length: unknown): string =>
    message(() => check.validateWriteRange(Buffer.alloc(byteLength), offset, length));

  test("lets through what fits, and anything of an empty buffer", () => {
    expect(write(4, 0, 4)).toBe("returned");
    expect(write(4, 4, 0)).toBe("returned");
    expect(write(0, 5, 5)).toBe("returned");
  });

  test("refuses the rest as Node does", () => {
    expect(write(4, 5, 0)).toContain('"offset" is out of range. It must be <= 4. Received 5');
    expect(write(4, -1, 4)).toContain('"offset" is out of range. It must be >= 0 && <= 9007199254740991. Received -1');
    expect(write(4, "0", 4)).toContain('"offset" argument must be of type number');
    expect(write(4, 1, 4)).toContain('"length" is out of range. It must be <= 3. Received 4');
    expect(write(4, 0, -1)).toContain('"length" is out of range. It must be >= 0. Received -1');
    expect(write(4, 0, 1.5)).toContain('"length" is out of range. It must be an integer. Received 1.5');
    expect(write(4, 0, Number.NaN)).toContain('"length" is out of range. It must be an integer. Received NaN');
    for (const length of ["4", "9"]) expect(write(4, 0, length)).toContain('"length" argument must be of type number');
  });

  test("takes at most 2 GiB - 1, as Node does", () => {
    const huge = new Uint8Array(2 ** 31); // never touched: address space, no memory
    expect(message(() => check.validateWriteRange(huge, 0, 2 ** 31 - 1))).toBe("returned");
    expect(message(() => check.validateWriteRange(huge, 0, 2 ** 31))).toContain(
      '"length" is out of range. It must be >= 0 && <= 2147483647. Received 2147483648',
    );
  });

  test("refuses a detached buffer", () => {
    expect(message(() => check.validateWriteRange(detached(), 0, 0))).toContain("'buffer' must not be detached");
  });
});

describe("positions", () => {
  test("null, undefined and -1 are the file's own", () => {
    for (const value of [null, undefined, -1, -1n]) expect(check.validatePosition(value)).toBe(-1);
  });

  test("numbers and bigints come back as given, safe bigints as numbers", () => {
    expect(check.validatePosition(0)).toBe(0);
    expect(check.validatePosition(Number.MAX_SAFE_INTEGER)).toBe(Number.MAX_SAFE_INTEGER);
    expect(check.validatePosition(5n)).toBe(5);
    expect(check.validatePosition(2n ** 53n - 1n)).toBe(Number.MAX_SAFE_INTEGER);
    expect(check.validatePosition(2n ** 53n)).toBe(2n ** 53n);
    expect(check.validatePosition(2n ** 63n - 5n, "position", 4)).toBe(2n ** 63n - 5n);
  });

  test("the rest is refused as Node does", () => {
    const position = (value: unknown, length?: number): string =>
      message(() => check.validatePosition(value, "position", length));
    expect(position(-2)).toContain('"position" is out of range. It must be >= -1 && <= 9007199254740991. Received -2');
    expect(position(2 ** 53)).toContain(">= -1 && <= 9007199254740991. Received 9_007_199_254_740_992");
    expect(position(1.5)).toContain("It must be an integer. Received 1.5");
    expect(position(-2n)).toContain("It must be >= -1 && <= 9223372036854775807. Received -2n");
    expect(position(2n ** 63n - 4n, 4)).toContain(
      "It must be >= -1 && <= 9223372036854775803. Received 9_223_372_036_854_775_804n",
    );
    expect(position("0")).toBe(
      "ERR_INVALID_ARG_TYPE The \"position\" argument must be of type bigint or integer. Received type string ('0')",
    );
    expect(position({})).toContain("Received an instance of Object");
  });

  test("of a write, only usable ones count", () => {
    for (const value of [null, undefined, "5", -1, -5, 1.5, 2 ** 53, Number.NaN, {}]) {
      expect(check.positionOrCurrent(value)).toBe(-1);
    }
    expect(check.positionOrCurrent(7)).toBe(7);
    expect(check.positionOrCurrent(7n)).toBe(7);
    expect(check.positionOrCurrent(2n ** 60n)).toBe(2n ** 60n);
    expect(message(() => check.positionOrCurrent(2n ** 63n))).toStartWith("ERR_OUT_OF_RANGE");
  });
});
