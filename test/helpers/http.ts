// HTTP over a raw socket: requests as they are written, answers as they come, for what fetch would tidy up.
// Assumes a server on this machine that closes when asked to. Never follows, decodes or retries.

export interface RawAnswer {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
  /** The body is as long as its header says, or ended by its last chunk. */
  whole: boolean;
}

/** Sends `text` (a head without its empty line) and reads until the server closes. */
export async function rawRequest(port: number, head: string): Promise<RawAnswer> {
  const chunks: Buffer[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data: (_, data) => void chunks.push(Buffer.from(data)),
      close: () => resolve(),
      error: (_, error) => reject(error), // a refused connection rejects `connect` itself
    },
  });
  socket.write(`${head.replaceAll("\n", "\r\n")}\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  await promise;
  return parse(Buffer.concat(chunks));
}

function parse(bytes: Buffer): RawAnswer {
  const end = bytes.indexOf("\r\n\r\n");
  const [line, ...fields] = bytes.subarray(0, end).toString("latin1").split("\r\n");
  const headers = Object.fromEntries(
    fields.map((field) => [
      field.slice(0, field.indexOf(":")).toLowerCase(),
      field.slice(field.indexOf(":") + 1).trim(),
    ]),
  );
  const status = Number(line?.split(" ")[1]);
  const rest = bytes.subarray(end + 4);
  if (headers["transfer-encoding"] === "chunked") return { status, headers, ...unchunked(rest) };
  const length = headers["content-length"];
  return { status, headers, body: rest, whole: length === undefined || Number(length) === rest.length };
}

function unchunked(bytes: Buffer): { body: Buffer; whole: boolean } {
  const chunks: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = bytes.indexOf("\r\n", at);
    if (line < 0) return { body: Buffer.concat(chunks), whole: false };
    const length = parseInt(bytes.subarray(at, line).toString(), 16);
    if (length === 0) return { body: Buffer.concat(chunks), whole: true };
    chunks.push(bytes.subarray(line + 2, line + 2 + length));
    at = line + 2 + length + 2;
    if (at > bytes.length) return { body: Buffer.concat(chunks), whole: false };
  }
}
