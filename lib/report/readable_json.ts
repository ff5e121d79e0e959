/** JSON with a line an entry, but lists of numbers in one line each. */
export function readableJson(value: unknown): string {
  // within strings there are no line breaks
  const lists = /\[\n\s*([^[\]{}"]*?)\n\s*\]/g;
  const text = JSON.stringify(value, null, 1).replace(
    lists,
    (_, numbers: string) => `[${numbers.replace(/\s+/g, ' ')}]`,
  );
  return `${text}\n`;
}
