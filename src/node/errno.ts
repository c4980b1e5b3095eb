// The errno numbers that this package tells apart, negative as the kernel's results are: the one place where they are written.
// Assumes Linux, where these are the same on every processor.

export const EPERM = -1;
export const ENOENT = -2;
export const EINTR = -4;
export const ENXIO = -6;
export const EAGAIN = -11;
export const ENOMEM = -12;
export const EACCES = -13;
export const EFAULT = -14;
export const EBUSY = -16;
export const EINVAL = -22;
export const ENFILE = -23;
export const ENOSPC = -28;
export const ESPIPE = -29;
export const ENOSYS = -38;
export const ELOOP = -40;
export const ETIME = -62;
export const EOPNOTSUPP = -95;
export const EINPROGRESS = -115;
export const ECANCELED = -125;
