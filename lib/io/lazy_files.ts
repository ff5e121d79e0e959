/** A read-only map from file names to contents, some of which are computed at each access. */
export class LazyFiles implements ReadonlyMap<string, Buffer> {
  constructor(private readonly contents: ReadonlyMap<string, Buffer | (() => Buffer)>) {}

  get size(): number {
    return this.contents.size;
  }

  has(name: string): boolean {
    return this.contents.has(name);
  }

  get(name: string): Buffer | undefined {
    const content = this.contents.get(name);
    return typeof content === 'function' ? content() : content;
  }

  keys(): MapIterator<string> {
    return this.contents.keys();
  }

  *values(): Generator<Buffer, undefined> {
    for (const [, content] of this) yield content;
  }

  *entries(): Generator<[string, Buffer], undefined> {
    for (const name of this.keys()) yield [name, this.get(name) as Buffer];
  }

  forEach(each: (content: Buffer, name: string, files: ReadonlyMap<string, Buffer>) => void): void {
    for (const [name, content] of this) each(content, name, this);
  }

  [Symbol.iterator](): Generator<[string, Buffer], undefined> {
    return this.entries();
  }
}
