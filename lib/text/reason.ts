/** Whole sentences fit; what a file puts into a message may have any length. */
const LONGEST = 200;

/** A text that comes from a file, short enough to be part of a message. */
export function shorten(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** The message of an error that a library threw, short enough to be part of another. */
export function reasonOf(error: unknown): string {
  return shorten(String((error as { message?: unknown } | null)?.message));
}
