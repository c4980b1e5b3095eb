// Owns the in-memory model of a small file tree: what each operation must give, by POSIX and Node's documentation.
// Assumes relative paths of plain names below one root, no symbolic links to folders, and root's rights (no EACCES).
// Never touches the disk.

export interface FileNode {
  kind: "file";
  bytes: Buffer;
  links: number;
}
export interface FolderNode {
  kind: "folder";
  entries: Map<string, Node>;
}
export type Node = FileNode | FolderNode;

/** A failure as the model foretells it; compared by code only, since the harness strips paths. */
export class ModelError extends Error {
  constructor(readonly code: string) {
    super(code);
  }
}

const fail = (code: string): never => {
  throw new ModelError(code);
};

/** An open file of the model: its node outlives its name, as on a real file system. */
export interface ModelHandle {
  /** A folder can be opened with "r" only. */
  file: Node;
  position: number;
  append: boolean;
}

export class Model {
  readonly root: FolderNode = { kind: "folder", entries: new Map() };

  /** The folder that holds the last name of `path`, and that name; fails as a path walk does. */
  private parent(path: string): [folder: FolderNode, name: string] {
    const names = path.split("/");
    const name = names.pop()!;
    let folder = this.root;
    for (const step of names) {
      const next = folder.entries.get(step) ?? fail("ENOENT");
      if (next.kind !== "folder") return fail("ENOTDIR");
      folder = next;
    }
    return [folder, name];
  }

  private find(path: string): Node {
    const [folder, name] = this.parent(path);
    return folder.entries.get(name) ?? fail("ENOENT");
  }

  private file(path: string): FileNode {
    const node = this.find(path);
    return node.kind === "file" ? node : fail("EISDIR");
  }

  open(path: string, flags: "r" | "r+" | "w" | "w+" | "wx" | "a" | "a+"): ModelHandle {
    const [folder, name] = this.parent(path);
    let node = folder.entries.get(name);
    if (node !== undefined && flags === "wx") fail("EEXIST");
    if (node === undefined) {
      if (flags.startsWith("r")) fail("ENOENT");
      node = { kind: "file", bytes: Buffer.alloc(0), links: 1 };
      folder.entries.set(name, node);
    }
    if (node.kind === "folder") return flags === "r" ? { file: node, position: 0, append: false } : fail("EISDIR");
    if (flags.startsWith("w")) node.bytes = Buffer.alloc(0);
    return { file: node, position: 0, append: flags.startsWith("a") };
  }

  /** The caller has made sure that the handle is on a file and may read. */
  read(handle: ModelHandle, length: number, position: number | null): Buffer {
    if (length === 0) return Buffer.alloc(0);
    const from = position ?? handle.position;
    const bytes = Buffer.from((handle.file as FileNode).bytes.subarray(from, from + length));
    if (position === null) handle.position += bytes.length;
    return bytes;
  }

  /** The caller has made sure that the handle may write. */
  write(handle: ModelHandle, data: Buffer, position: number | null): number {
    if (data.length === 0) return 0;
    const file = handle.file as FileNode;
    const at = handle.append ? file.bytes.length : (position ?? handle.position);
    const size = Math.max(file.bytes.length, at + data.length);
    const bytes = Buffer.alloc(size);
    file.bytes.copy(bytes);
    data.copy(bytes, at);
    file.bytes = bytes;
    // pwrite(2) leaves the file's own position alone, O_APPEND or not; write(2) leaves it behind what it wrote.
    if (position === null) handle.position = at + data.length;
    return data.length;
  }

  truncate(file: FileNode, length: number): void {
    const bytes = Buffer.alloc(length);
    file.bytes.copy(bytes);
    file.bytes = bytes;
  }

  truncatePath(path: string, length: number): void {
    this.truncate(this.file(path), length);
  }

  readFile(path: string): Buffer {
    return Buffer.from(this.file(path).bytes);
  }

  writeFile(path: string, data: Buffer, flags: "w" | "a"): void {
    this.write(this.open(path, flags), data, null);
  }

  copyFile(from: string, to: string, exclusive: boolean): void {
    const source = this.find(from);
    if (source.kind === "folder") fail("EISDIR");
    const [folder, name] = this.parent(to);
    const there = folder.entries.get(name);
    if (exclusive && there !== undefined) fail("EEXIST");
    if (there === source) return;
    const bytes = Buffer.from((source as FileNode).bytes);
    (this.open(to, "w").file as FileNode).bytes = bytes;
  }

  stat(path: string): Node {
    return this.find(path);
  }

  mkdir(path: string): void {
    const [folder, name] = this.parent(path);
    if (folder.entries.has(name)) fail("EEXIST");
    folder.entries.set(name, { kind: "folder", entries: new Map() });
  }

  /** The first folder it made, or undefined. */
  mkdirRecursive(path: string): string | undefined {
    let first: string | undefined;
    let at = "";
    const names = path.split("/");
    for (const [i, name] of names.entries()) {
      at = at === "" ? name : `${at}/${name}`;
      const [folder] = this.parent(at);
      const node = folder.entries.get(name);
      if (node === undefined) {
        first ??= at;
        folder.entries.set(name, { kind: "folder", entries: new Map() });
      } else if (node.kind === "file") fail(i === names.length - 1 ? "EEXIST" : "ENOTDIR");
    }
    return first;
  }

  readdir(path: string): string[] {
    const node = this.find(path);
    return node.kind === "folder" ? [...node.entries.keys()].sort() : fail("ENOTDIR");
  }

  unlink(path: string): void {
    const [folder, name] = this.parent(path);
    const node = folder.entries.get(name) ?? fail("ENOENT");
    if (node.kind === "folder") return fail("EISDIR");
    node.links--;
    folder.entries.delete(name);
  }

  rmdir(path: string): void {
    const [folder, name] = this.parent(path);
    const node = folder.entries.get(name) ?? fail("ENOENT");
    if (node.kind === "file") return fail("ENOTDIR");
    if (node.entries.size > 0) fail("ENOTEMPTY");
    folder.entries.delete(name);
  }

  rmRecursive(path: string, force: boolean): void {
    let folder: FolderNode;
    let name: string;
    try {
      [folder, name] = this.parent(path);
      if (!folder.entries.has(name)) fail("ENOENT");
    } catch (error) {
      if (force && (error as ModelError).code === "ENOENT") return;
      throw error;
    }
    const drop = (node: Node): void => {
      if (node.kind === "file") node.links--;
      else for (const child of node.entries.values()) drop(child);
    };
    drop(folder.entries.get(name)!);
    folder.entries.delete(name);
  }

  link(from: string, to: string): void {
    const node = this.find(from);
    const [folder, name] = this.parent(to);
    if (folder.entries.has(name)) fail("EEXIST");
    if (node.kind === "folder") return fail("EPERM");
    node.links++;
    folder.entries.set(name, node);
  }

  rename(from: string, to: string): void {
    const [source, oldName] = this.parent(from);
    const [target, newName] = this.parent(to);
    const node = source.entries.get(oldName) ?? fail("ENOENT");
    if (to.startsWith(`${from}/`)) fail("EINVAL");
    const there = target.entries.get(newName);
    if (from.startsWith(`${to}/`)) fail("ENOTEMPTY");
    if (there === node) return;
    if (there !== undefined) {
      if (node.kind === "folder" && there.kind === "file") fail("ENOTDIR");
      if (node.kind === "file" && there.kind === "folder") fail("EISDIR");
      if (there.kind === "folder" && there.entries.size > 0) fail("ENOTEMPTY");
      if (there.kind === "file") there.links--;
    }
    target.entries.set(newName, node);
    source.entries.delete(oldName);
  }
}
