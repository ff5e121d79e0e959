/**
 * Returns an array of `length` numbers with unspecified values. It is the start of `old` if that is long enough. A new
 * array is zeroed first, and many short-lived large arrays make the garbage collector run often.
 */
export function reused(old: Float32Array | undefined, length: number): Float32Array {
  return old !== undefined && old.length >= length ? old.subarray(0, length) : new Float32Array(length);
}
