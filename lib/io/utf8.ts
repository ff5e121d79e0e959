import { MbokError } from '../base/errors';

/** A strict UTF-8 decoder for text in parts that may end anywhere. It drops a byte order mark at the start. */
export class Utf8Decoder {
  /** Start of a character that continues in the next part. */
  #rest: Uint8Array = new Uint8Array();
  /** Number of decoded bytes. */
  #offset = 0;

  /** `what` names the text in messages; `advice` ends them. */
  constructor(
    private readonly what: string,
    private readonly advice = '',
  ) {}

  /** Returns the text that these bytes complete. Throws MBOK_FORMAT, naming the first byte that is not UTF-8. */
  push(part: Uint8Array): string {
    const bytes = this.#rest.length === 0 ? part : Buffer.concat([this.#rest, part]);
    const text = decodeBeginning(bytes) ?? this.#refuse(bytes);
    const isStart = this.#offset === 0;
    const length = Buffer.byteLength(text);
    this.#rest = bytes.slice(length);
    this.#offset += length;
    return isStart && text.startsWith('\ufeff') ? text.slice(1) : text;
  }

  /** Throws MBOK_FORMAT if the text ends inside a character. */
  end(): void {
    if (this.#rest.length > 0) this.#refuse(this.#rest);
  }

  /** Throws MBOK_FORMAT naming the first invalid byte; `bytes` starts at the current offset. */
  #refuse(bytes: Uint8Array): never {
    let [valid, invalid] = [0, bytes.length + 1];
    while (invalid - valid > 1) {
      const middle = Math.floor((valid + invalid) / 2);
      if (decodeBeginning(bytes.subarray(0, middle)) === undefined) invalid = middle;
      else valid = middle;
    }
    const at = Buffer.byteLength(decodeBeginning(bytes.subarray(0, valid)) as string);
    const byte = (bytes[at] as number).toString(16).padStart(2, '0');
    const place = `byte 0x${byte} at offset ${this.#offset + at}`;
    throw new MbokError('MBOK_FORMAT', `${this.what} is not valid UTF-8: ${place}${this.advice}`);
  }
}

/** Decodes the complete characters. Returns undefined if the bytes are not the start of valid UTF-8. */
function decodeBeginning(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes, { stream: true });
  } catch {
    return undefined;
  }
}
