import { MbokError } from '../base/errors';

/** Decodes UTF-8 strictly, in parts that may end anywhere. A byte order mark at the start is dropped. */
export class Utf8Decoder {
  /** The beginning of a character whose end is in the next part. */
  #rest: Uint8Array = new Uint8Array();
  /** Bytes decoded. */
  #offset = 0;

  /** `what` names the text in messages; `advice` ends them. */
  constructor(
    private readonly what: string,
    private readonly advice = '',
  ) {}

  /** The text that is complete with these bytes. Throws MBOK_FORMAT naming the first byte that is no UTF-8. */
  push(part: Uint8Array): string {
    const bytes = this.#rest.length === 0 ? part : Buffer.concat([this.#rest, part]);
    const text = decodeBeginning(bytes) ?? this.#refuse(bytes);
    const isStart = this.#offset === 0;
    const length = Buffer.byteLength(text);
    this.#rest = bytes.slice(length);
    this.#offset += length;
    return isStart && text.startsWith('\ufeff') ? text.slice(1) : text;
  }

  /** Throws MBOK_FORMAT where the text ends within a character. */
  end(): void {
    if (this.#rest.length > 0) this.#refuse(this.#rest);
  }

  /** `bytes`: those from the offset on. */
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

/** The characters that are whole; undefined where bytes are no beginning of UTF-8. */
function decodeBeginning(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes, { stream: true });
  } catch {
    return undefined;
  }
}
