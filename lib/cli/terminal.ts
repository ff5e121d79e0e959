/** Terminal output while a command works: a bar or status line on a terminal, otherwise nothing. */

const { stderr } = process;
const WIDTH = 24;
/** Milliseconds between two updates. */
const PAUSE = 100;

/** A line of stderr that is overwritten. */
export class StatusLine {
  #drawn = 0;
  #shown = '';

  /** Replaces the line by `text`. */
  show(text: string, { always = false } = {}): void {
    const now = performance.now();
    if (!stderr.isTTY || text === this.#shown || (!always && now - this.#drawn < PAUSE)) return;
    this.#drawn = now;
    this.#shown = text;
    stderr.write(`\r\x1b[2K${text.slice(0, (stderr.columns ?? 80) - 1)}`);
  }

  /** Shows a bar for the finished share of the work, from 0 to 1, and the current part. */
  bar(title: string, done: number, what: string): void {
    const filled = Math.round(done * WIDTH);
    const bar = '█'.repeat(filled) + '░'.repeat(WIDTH - filled);
    this.show(`${title} ${bar} ${String(Math.round(done * 100)).padStart(3)} %  ${what}`, { always: done >= 1 });
  }

  /** Returns a callback for `onProgress` of long library calls. */
  progress(title: string): (progress: { readonly done: number; readonly what?: string }) => void {
    return ({ done, what = '' }) => this.bar(title, done, what);
  }

  /** Removes the line. */
  clear(): void {
    if (this.#shown !== '') stderr.write('\r\x1b[2K');
    this.#shown = '';
  }
}

/** An estimate of the remaining time of a task from its progress, as text for the status line. */
export class RemainingTime {
  #first: { readonly done: number; readonly at: number } | undefined;

  after(done: number): string {
    const now = performance.now();
    this.#first ??= { done, at: now };
    const share = done - this.#first.done;
    // the first percent may not be representative
    if (share < 0.01) return '';
    const seconds = ((now - this.#first.at) / 1000 / share) * (1 - done);
    return seconds < 90 ? `, ${Math.ceil(seconds)} s left` : `, ${Math.ceil(seconds / 60)} min left`;
  }
}

/** Prints a message for people to stderr; only results go to stdout. */
export function say(text: string): void {
  stderr.write(`${text}\n`);
}

/** Formats rows as aligned columns, with numbers aligned right. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, i) =>
        i > 0 && /^[\d.,−-]/.test(cell) ? cell.padStart(widths[i] as number) : cell.padEnd(widths[i] as number),
      )
      .join('  ')
      .trimEnd(),
  );
}

/** Formats 1234567 as '1.23 MB'. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(2)} MB`;
}
