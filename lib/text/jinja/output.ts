import { LimitError } from '../bounded';
import type { Budget } from './budget';

/** Where a text is said by the assistant: places in UTF-16 units, from the first to before the last. */
export type Span = readonly [start: number, end: number];

/** The text that a template writes, and the parts of it within `{% generation %}`. */
export class Output {
  #spans: Span[] | undefined = [];
  readonly #longest: number;
  readonly #budget: Budget;
  #parts: string[] = [];
  #length = 0;
  #captures = 0;

  /** `longest`: characters that may be written. */
  constructor(longest: number, budget: Budget) {
    this.#longest = longest;
    this.#budget = budget;
  }

  get text(): string {
    return this.#parts.join('');
  }

  /** Parts that are the assistant's; none where one was written within a capture, as nobody knows where it stands. */
  get spans(): readonly Span[] {
    return this.#spans ?? [];
  }

  /** Throws LimitError where it is too much. */
  write(text: string): void {
    this.#length += text.length;
    this.#budget.join(text.length);
    if (this.#captures === 0 && this.#length > this.#longest) {
      throw new LimitError(`writes more than ${this.#longest} characters`);
    }
    this.#parts.push(text);
  }

  /** What is written meanwhile, which is not written here. */
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

  /** Notes what is written meanwhile as the assistant's. */
  generation(work: () => void): void {
    const start = this.#length;
    work();
    if (this.#captures > 0) this.#spans = undefined;
    this.#spans?.push([start, this.#length]);
  }
}
