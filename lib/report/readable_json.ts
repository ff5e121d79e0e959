/** Formats JSON with one line per entry, but puts a list of numbers on one line. */
export function readableJson(value: unknown): string {
  // JSON strings contain no line breaks
  const lists = /\[\n\s*([^[\]{}"]*?)\n\s*\]/g;
  const text = JSON.stringify(value, null, 1).replace(
    lists,
    (_, numbers: string) => `[${numbers.replace(/\s+/g, ' ')}]`,
  );
  return `${text}\n`;
}
