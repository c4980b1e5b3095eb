// bun-uring/server: files in a Bun server. A list of what there is.

export { OutsideRootError } from "./outside.ts";
export { openRoot, Root, type RootOptions, type RootReaddirOptions, type RootWriteOptions } from "./root.ts";
export { serveFile } from "./serve-file.ts";
export type { Encoding, FileFacts, ServeOptions } from "./serve-options.ts";
