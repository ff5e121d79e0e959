/** The plan of a text that grows. */

import type { Plan } from '../graph/plan';

/** Positions at first: tables of constants for so many take some megabytes. */
const FIRST_POSITIONS = 4096;

/**
 * A plan for the positions that a text has reached, made when it is first wanted. Tables of constants grow with the text,
 * not with the room for it: that is a model's whole context unless a caller says how many tokens are wanted. Dispose it.
 */
export class GrowingPlan implements AsyncDisposable {
  #plan: Plan | undefined;
  #positions = 0;

  /** `make` builds the plan for runs that reach so many positions, at most `context`. */
  constructor(
    private readonly context: number,
    private readonly make: (positions: number) => Plan,
  ) {}

  /** The plan for a run that reaches `positions` positions. Earlier ones are disposed of. Throws what `make` throws. */
  async upTo(positions: number): Promise<Plan> {
    if (this.#plan !== undefined && positions <= this.#positions) return this.#plan;
    const grown = Math.min(this.context, Math.max(positions, FIRST_POSITIONS, 2 * this.#positions));
    const plan = this.make(grown);
    await this.#plan?.[Symbol.asyncDispose]();
    this.#plan = plan;
    this.#positions = grown;
    return plan;
  }

  /** Frees the plan, after the run in flight if there is one. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#plan?.[Symbol.asyncDispose]();
  }
}
