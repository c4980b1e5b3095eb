// The package as the command line sees it: loaded by name where a command needs it.

export type Library = typeof import("../index.ts");
export type ServerLibrary = typeof import("../server.ts");
