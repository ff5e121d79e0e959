import { LimitError } from '../bounded';
import type { Budget } from './budget';

/** Span of the assistant's text in UTF-16 units; the end is exclusive. */
export type Span = readonly [start: number, end: number];

/** The output of a rendering, and its spans inside `{% generation %}`. */
export class Output {
  #spans: Span[] | undefined = [];
  readonly #longest: number;
  readonly #budget: Budget;
  #parts: string[] = [];
  #length = 0;
  #captures = 0;

  /** `longest` limits the written characters. */
  constructor(longest: number, budget: Budget) {
    this.#longest = longest;
    this.#budget = budget;
  }

  get text(): string {
    return this.#parts.join('');
  }

  /** Spans of the assistant. There are none if one was written inside a capture, since its position is unknown. */
  get spans(): readonly Span[] {
    return this.#spans ?? [];
  }

  /** Writes a text. Throws LimitError beyond the limit. */
  write(text: string): void {
    this.#length += text.length;
    this.#budget.join(text.length);
    if (this.#captures === 0 && this.#length > this.#longest) {
      throw new LimitError(`writes more than ${this.#longest} characters`);
    }
    this.#parts.push(text);
  }

  /** Captures what `work` writes and returns it instead of writing it. */
  capture(work: () => void): string {
    const [parts, length] = [this.#parts, this.#length];
    [this.#parts, this.#length] = [[], 0];
    this.#captures++;
    work();
    this.#captures--;
    this.#budget.make(this.#length);
    const { text } = this;
    [this.#parts, this.#length] = [parts, length];
    return text;
  }

  /** Marks what `work` writes as the assistant's. */
  generation(work: () => void): void {
    const start = this.#length;
    work();
    if (this.#captures > 0) this.#spans = undefined;
    this.#spans?.push([start, this.#length]);
  }
}
