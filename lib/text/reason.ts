/** Whole sentences fit; what a file put into a message may have any length. */
const LONGEST = 200;

/** The message of an error that a library threw, short enough to be part of another. */
export function reasonOf(error: unknown): string {
  const message = String((error as { message?: unknown } | null)?.message);
  return message.length > LONGEST ? `${message.slice(0, LONGEST)}…` : message;
}
