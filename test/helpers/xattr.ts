// Owns extended attributes in tests: by a ring, also where the code under test runs on the other backend, which has none.
// Never asserts.

import { uringBackend } from "../../src/backend/uring/backend.ts";

/** Whether the file system took it. */
export function setXattr(path: string, name: string, value: Uint8Array): Promise<boolean> {
  return uringBackend.setxattr(path, name, value, null).then(
    () => true,
    () => false,
  );
}

/** Null where there is none. */
export function getXattr(path: string, name: string): Promise<Buffer | null> {
  return uringBackend.getxattr(path, name).catch(() => null);
}

export const ACCESS_LIST = "system.posix_acl_access";
export const DEFAULT_LIST = "system.posix_acl_default";

/** An access control list: the owner's, one named user's, the group's, the mask's and all others' permissions. */
export function accessList(
  owner: number,
  user: { id: number; may: number },
  group: number,
  mask: number,
  others = 0,
): Buffer {
  const NOBODY = 0xffff_ffff;
  const entries = [
    [0x01, owner, NOBODY],
    [0x02, user.may, user.id],
    [0x04, group, NOBODY],
    [0x10, mask, NOBODY],
    [0x20, others, NOBODY],
  ] as const;
  const list = Buffer.alloc(4 + entries.length * 8);
  list.writeUInt32LE(2); // the version
  for (const [i, [tag, may, id]] of entries.entries()) {
    list.writeUInt16LE(tag, 4 + i * 8);
    list.writeUInt16LE(may, 6 + i * 8);
    list.writeUInt32LE(id, 8 + i * 8);
  }
  return list;
}
