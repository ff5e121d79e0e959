/**
 * An array of `length` numbers of any value: the beginning of `old` where that is long enough. A fresh array of megabytes
 * is zeroed first, and when many of them end, the garbage collector looks at everything each time.
 */
export function reused(old: Float32Array | undefined, length: number): Float32Array {
  return old !== undefined && old.length >= length ? old.subarray(0, length) : new Float32Array(length);
}
