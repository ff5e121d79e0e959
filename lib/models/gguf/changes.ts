/** Undoes what llama.cpp's conversion does to tensors; all take and give bytes of whole rows. */

/** Rows that lie as 0, d/2, 1, d/2 + 1, … in each group of d (a head), in order. */
export function inOrder(bytes: Uint8Array, rowBytes: number, d: number): Uint8Array {
  const ordered = new Uint8Array(bytes.length);
  for (let row = 0; row < bytes.length / rowBytes; row++) {
    const inGroup = row % d;
    const source = row - inGroup + (inGroup < d / 2 ? 2 * inGroup : 2 * inGroup - d + 1);
    ordered.set(bytes.subarray(source * rowBytes, (source + 1) * rowBytes), row * rowBytes);
  }
  return ordered;
}

/** f32 numbers less 1. */
export function minusOne(bytes: Uint8Array): Uint8Array {
  const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4).map((value) => value - 1);
  return new Uint8Array(values.buffer);
}

/** A matrix [rows, cols] of elements of two or four bytes as [cols, rows]. */
export function transposed(bytes: Uint8Array, rows: number, cols: number): Uint8Array {
  const Elements = bytes.length / (rows * cols) === 4 ? Uint32Array : Uint16Array;
  const from = new Elements(bytes.buffer as ArrayBuffer, bytes.byteOffset, rows * cols);
  const to = new Elements(rows * cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) to[col * rows + row] = from[row * cols + col] as number;
  }
  return new Uint8Array(to.buffer);
}
