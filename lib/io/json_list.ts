import { MbokError } from '../base/errors';
import { CLOSE_LIST, CLOSE_OBJECT, ESCAPE, OPEN_LIST, OPEN_OBJECT, QUOTE } from './json_units';

/**
 * Cuts a list of objects in JSON, which comes in parts, into the texts of its elements. What they hold is not looked at:
 * whoever parses them does.
 */
export class JsonListSplitter {
  /** Lists and objects that are open. */
  #depth = 0;
  #inString = false;
  #escaped = false;
  #closed = false;
  /** Of earlier parts, what follows the latest element. */
  #rest = '';
  #elements = 0;

  /** `what` names the list in messages. */
  constructor(private readonly what: string) {}

  /** Characters of an element that is not complete yet. */
  get pending(): number {
    return this.#rest.length;
  }

  /** The elements that are complete with this part. Throws MBOK_FORMAT where it is no list of objects. */
  push(text: string): string[] {
    const elements: string[] = [];
    /** Where what follows the latest element begins. */
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

  /** Throws MBOK_FORMAT where the list does not end, or something follows it. */
  end(): void {
    if (!this.#closed || this.#rest.trim() !== '') this.#refuse();
  }

  #refuse(): never {
    const place = this.#elements === 0 ? 'at its beginning' : `after record ${this.#elements}`;
    throw new MbokError('MBOK_FORMAT', `${this.what} is not a list of objects in JSON: it goes wrong ${place}`);
  }
}
