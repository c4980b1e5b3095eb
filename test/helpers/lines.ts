// Owns reading a stream line by line, with waiting for the next line and the text so far.
// Assumes UTF-8. Never blocks: lines that nobody waited for are kept.

/** A stream as lines. */
export interface Lines {
  /** The next line, in order; null at the end of the stream. */
  next(): Promise<string | null>;
  /** The next line for which `wanted` holds (others are passed over); null at the end. */
  until(wanted: (line: string) => boolean): Promise<string | null>;
  /** Everything read so far; complete once `ended` has resolved. */
  text(): string;
  ended: Promise<void>;
}

export function readLines(stream: ReadableStream<Uint8Array>): Lines {
  const ready: string[] = [];
  const waiting: ((line: string | null) => void)[] = [];
  let all = "";
  let rest = "";
  let over = false;

  const take = (line: string): void => {
    const waiter = waiting.shift();
    if (waiter) waiter(line);
    else ready.push(line);
  };
  const pump = async (): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      const text = decoder.decode(chunk, { stream: true });
      all += text;
      const parts = (rest + text).split("\n");
      rest = parts.pop()!;
      for (const line of parts) take(line);
    }
    if (rest !== "") take(rest);
    over = true;
    for (const waiter of waiting.splice(0)) waiter(null);
  };
  const ended = pump();

  const next = (): Promise<string | null> => {
    if (ready.length > 0) return Promise.resolve(ready.shift()!);
    if (over) return Promise.resolve(null);
    return new Promise((resolve) => waiting.push(resolve));
  };
  const until = async (wanted: (line: string) => boolean): Promise<string | null> => {
    for (;;) {
      const line = await next();
      if (line === null || wanted(line)) return line;
    }
  };
  return { next, until, text: () => all, ended };
}
