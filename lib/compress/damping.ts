/** Damping of the second moments of inputs. */

import type { Matrix } from '../native/matrix';

/**
 * Damping of H in units of mean(diag H): Ĥ = H + DAMPING · mean(diag H) · I. GPTQ (arXiv 2210.17323) uses 0.01. On
 * SmolLM2 at K = 2, 0.03 lowers perplexity by 2 % against 0.01 and by 1 % against 0.1.
 */
export const DAMPING = 0.03;

/**
 * Copies H and adds the damping to its diagonal. Scales for fixed signs are fitted under this copy: no later column can
 * correct their error. Without damping, scales of columns that are almost 0 on the calibration tokens would grow
 * without bound to correct others.
 */
export function dampedMoments(h: Matrix): Matrix {
  const damped = h.clone();
  const diagonal = diagonalOf(h);
  const shift = (DAMPING * diagonal.reduce((sum, value) => sum + value, 0)) / h.rows;
  for (const [j, value] of diagonal.entries()) damped.writeAt(diagonalOffset(h, j), Float32Array.of(value + shift));
  return damped;
}

/** Copies the diagonal of an f32 matrix [n, n]. */
export function diagonalOf(h: Matrix): Float32Array {
  const element = new Float32Array(1);
  return Float32Array.from({ length: h.rows }, (_, j) => {
    h.readAt(diagonalOffset(h, j), element);
    return element[0] as number;
  });
}

/** Returns the byte offset of element [j, j]. */
export function diagonalOffset({ cols }: Matrix, j: number): number {
  return j * (cols + 1) * Float32Array.BYTES_PER_ELEMENT;
}
