/** Runs pieces of asynchronous work one after the other, in the order of the calls. One that fails does not stop the next. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `work` when all earlier work has ended. Resolves and rejects as `work`. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#last.then(work);
    this.#last = run.catch(() => undefined);
    return await run;
  }
}
