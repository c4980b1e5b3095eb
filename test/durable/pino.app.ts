// An application that logs by pino, to the destination that its first argument names: ours, or pino's own to compare with.
// Ends as the second argument says, with lines that nobody has flushed.

import { AppendLog } from "../../src/durable.ts";

const [kind, end, path] = process.argv.slice(2) as [string, string, string];
const { pino } = await import("pino" as string);
const destination =
  kind === "ours"
    ? await AppendLog.open(path, { framing: "lines", durability: "none" })
    : pino.destination({ dest: path, sync: false, minLength: 4096 });
const logger = pino(
  {
    level: "debug",
    redact: ["password", "nested.secret"],
    serializers: { err: pino.stdSerializers.err },
    base: { service: "shop" },
    timestamp: false,
  },
  destination,
);
logger.info("begins");
const request = logger.child({ request: 7 });
for (let i = 0; i < 500; i++) {
  request.debug({ i, password: "secret", nested: { secret: "x", kept: "ü €" } }, "working on %d of %s", i, "many");
  if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
}
logger.trace("not logged");
logger.error({ err: Object.assign(new Error("broken"), { stack: "none" }) });
await new Promise<void>((resolve, reject) =>
  logger.flush((error?: Error | null) => (error ? reject(error) : resolve())),
);
logger.warn("after the flush");
if (end === "multi") {
  const streams = pino.multistream([{ level: "warn", stream: destination }]);
  const both = pino({ timestamp: false, base: null }, streams);
  both.info("not logged either");
  both.warn("by a multistream");
}
if (end === "fatal") logger.fatal("the end");
if (end === "sigterm") process.kill(process.pid, "SIGTERM");
else if (end === "end") destination.end();
else process.exit(3);
