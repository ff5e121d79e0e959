/** Longest part of a message in characters. Whole sentences fit; texts from files may have any length. */
const LONGEST = 200;

/** Shortens a text from a file, for a message. */
export function shorten(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** Returns the message of a library's error, shortened. */
export function reasonOf(error: unknown): string {
  return shorten(String((error as { message?: unknown } | null)?.message));
}
