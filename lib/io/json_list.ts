import { MbokError } from '../base/errors';
import { CLOSE_LIST, CLOSE_OBJECT, ESCAPE, OPEN_LIST, OPEN_OBJECT, QUOTE } from './json_units';

/**
 * A splitter that cuts a JSON list of objects, arriving in parts, into the texts of its elements. It does not check the
 * elements: their parser does.
 */
export class JsonListSplitter {
  /** Number of open lists and objects. */
  #depth = 0;
  #inString = false;
  #escaped = false;
  #closed = false;
  /** Text of earlier parts after the last complete element. */
  #rest = '';
  #elements = 0;

  /** `what` names the list in messages. */
  constructor(private readonly what: string) {}

  /** Length of the incomplete element, in characters. */
  get pending(): number {
    return this.#rest.length;
  }

  /** Returns the elements that this part completes. Throws MBOK_FORMAT if the text is not a list of objects. */
  push(text: string): string[] {
    const elements: string[] = [];
    /** Position after the last complete element. */
    let from = 0;
    const expectBetween = (separator: string, end: number) => {
      if ((this.#rest + text.slice(from, end)).trim() !== separator) this.#refuse();
      this.#rest = '';
      from = end;
    };
    for (let i = 0; i < text.length; i++) {
      const character = text.charCodeAt(i);
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (character === ESCAPE) this.#escaped = true;
        else if (character === QUOTE) this.#inString = false;
      } else if (character === QUOTE) {
        if (this.#depth < 2) this.#refuse();
        this.#inString = true;
      } else if (character === OPEN_LIST || character === OPEN_OBJECT) {
        if (this.#depth === 0) {
          if (character !== OPEN_LIST || this.#closed) this.#refuse();
          expectBetween('', i);
          from = i + 1;
        } else if (this.#depth === 1) {
          expectBetween(this.#elements === 0 ? '' : ',', i);
        }
        this.#depth++;
      } else if (character === CLOSE_LIST || character === CLOSE_OBJECT) {
        this.#depth--;
        if (this.#depth === 1) {
          elements.push(this.#rest + text.slice(from, i + 1));
          this.#rest = '';
          from = i + 1;
          this.#elements++;
        } else if (this.#depth <= 0) {
          if (character !== CLOSE_LIST || this.#depth < 0) this.#refuse();
          expectBetween('', i);
          from = i + 1;
          this.#closed = true;
        }
      }
    }
    this.#rest += text.slice(from);
    return elements;
  }

  /** Throws MBOK_FORMAT if the list has not ended, or if text follows it. */
  end(): void {
    if (!this.#closed || this.#rest.trim() !== '') this.#refuse();
  }

  #refuse(): never {
    const place = this.#elements === 0 ? 'at its beginning' : `after record ${this.#elements}`;
    throw new MbokError('MBOK_FORMAT', `${this.what} is not a list of objects in JSON: it goes wrong ${place}`);
  }
}
