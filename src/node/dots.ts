// Paths that end in ".", which no folder is removed by: rmdir(2) says EINVAL, and Node asks it before it empties anything.

const DOT = /(^|\/)\.\/*$/;

export const endsInDot = (path: string | Buffer): boolean =>
  DOT.test(typeof path === "string" ? path : path.toString("latin1"));
