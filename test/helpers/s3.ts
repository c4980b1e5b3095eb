// A store that speaks as much of S3 as Bun's client needs: PUT, GET and list (version 2) of one bucket, in memory.
// Assumes objects without a need for many parts. Checks no signatures.

export interface S3 extends AsyncDisposable {
  objects: Map<string, Buffer>;
  /** Puts in the order of their arrival. */
  puts: string[];
  env: Record<string, string>;
  /** What to do with a put before it is taken; a status refuses it. */
  onPut: (key: string) => number | undefined;
}

const PAGE = 2;

export function startS3(): S3 {
  const objects = new Map<string, Buffer>();
  const store: S3 = {
    objects,
    puts: [],
    env: {},
    onPut: () => undefined,
    [Symbol.asyncDispose]: () => server.stop(true),
  };
  const list = (query: URLSearchParams): Response => {
    const after = query.get("continuation-token") ?? "";
    const keys = [...objects.keys()].sort().filter((key) => key.startsWith(query.get("prefix") ?? "") && key > after);
    const page = keys.slice(0, PAGE);
    const isTruncated = keys.length > PAGE;
    const contents = page.map(
      (key) => `<Contents><Key>${key}</Key><Size>${objects.get(key)!.length}</Size></Contents>`,
    );
    const next = isTruncated ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : "";
    return new Response(
      `<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>${isTruncated}</IsTruncated>${next}${contents.join("")}</ListBucketResult>`,
      { headers: { "content-type": "application/xml" } },
    );
  };
  const server = Bun.serve({
    port: 0,
    async fetch(request) {
      const { pathname, searchParams } = new URL(request.url);
      const key = decodeURIComponent(pathname).replace(/^\/b\/?/, "");
      if (request.method === "PUT") {
        const body = Buffer.from(await request.arrayBuffer());
        const refused = store.onPut(key);
        if (refused !== undefined) return new Response("<Error><Code>SlowDown</Code></Error>", { status: refused });
        objects.set(key, body);
        store.puts.push(key);
        return new Response(null, { headers: { etag: '"x"' } });
      }
      if (key === "") return list(searchParams);
      const object = objects.get(key);
      return object === undefined ? new Response(null, { status: 404 }) : new Response(new Uint8Array(object));
    },
  });
  store.env = {
    S3_ENDPOINT: `http://127.0.0.1:${server.port}`,
    S3_BUCKET: "b",
    S3_ACCESS_KEY_ID: "key",
    S3_SECRET_ACCESS_KEY: "secret",
  };
  return store;
}
