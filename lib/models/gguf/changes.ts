/**
 * Restores the order of rows that llama.cpp's conversion changed to 0, d/2, 1, d/2 + 1, … in each group of d rows (a
 * head). `bytes` contain whole groups.
 */
export function inOrder(bytes: Uint8Array, rowBytes: number, d: number): Uint8Array {
  const ordered = new Uint8Array(bytes.length);
  for (let row = 0; row < bytes.length / rowBytes; row++) {
    const inGroup = row % d;
    const source = row - inGroup + (inGroup < d / 2 ? 2 * inGroup : 2 * inGroup - d + 1);
    ordered.set(bytes.subarray(source * rowBytes, (source + 1) * rowBytes), row * rowBytes);
  }
  return ordered;
}
