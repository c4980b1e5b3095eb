// bun-uring/server: files in a Bun server. A list of what there is.

export { serveElysia, serveNode, serveStatic } from "./server/middleware.ts";
export { OutsideRootError } from "./server/names.ts";
export { openRoot, Root, type RootOptions, type RootReaddirOptions, type RootWriteOptions } from "./server/root.ts";
export { serveFile } from "./server/serve-file.ts";
export type { Encoding, FileFacts, ServeOptions } from "./server/serve-options.ts";
export { type StaticRoutes, type StaticRoutesOptions, staticRoutes } from "./server/static-routes.ts";
