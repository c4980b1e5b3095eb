// Memory for the chunks of a stream.

export class ChunkMemory {
  take(byteLength: number): Buffer {
    return Buffer.allocUnsafeSlow(byteLength);
  }
  close(): void {}
}
