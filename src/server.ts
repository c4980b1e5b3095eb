// bun-uring/server: files in a Bun server. A list of what there is.

export type { Writable } from "./server/chunks.ts";
export { type FileRange, file, UringFile } from "./server/file.ts";
export { FileWriter, type FileWriterOptions } from "./server/file-writer.ts";
export { ReceiveError } from "./server/intake.ts";
export { serveElysia, serveNode, serveStatic } from "./server/middleware.ts";
export {
  type FieldPart,
  type FilePart,
  type MultipartLimits,
  type MultipartOptions,
  type MultipartPart,
  multipart,
} from "./server/multipart.ts";
export { OutsideRootError } from "./server/names.ts";
export { receive, type Target } from "./server/receive.ts";
export type { Received, ReceiveOptions } from "./server/receive-body.ts";
export { openRoot, Root } from "./server/root.ts";
export type {
  RootOptions,
  RootReaddirOptions,
  RootReadStreamOptions,
  RootWriteOptions,
  RootWriteStreamOptions,
} from "./server/root-options.ts";
export { serveFile } from "./server/serve-file.ts";
export type { Encoding, ServedFile, ServeOptions } from "./server/serve-options.ts";
export { type StaticRoutes, type StaticRoutesOptions, staticRoutes } from "./server/static-routes.ts";
export { type Destination, type WriteOptions, write } from "./server/write.ts";
