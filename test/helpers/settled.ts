// What has come of promises and streams, in a word or in one part.

/** "resolved", or the code of the error that a promise has rejected with. */
export const code = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error) => error.code ?? String(error),
  );

/** All that a stream gives. */
export async function collect(stream: AsyncIterable<any>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}
