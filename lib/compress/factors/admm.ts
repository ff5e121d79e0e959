/**
 * The alternating direction method of multipliers that fits a factor pair: W ≈ Z_A Z_B, where both factors have the form
 * sign ⊙ u vᵀ. It minimizes tr(F H Fᵀ), F = W − Z_A Z_B, for scaled inputs with moments H = Vᵀ Λ V (NanoQuant uses the
 * method with a diagonal H). Iteration t of T with ridge ρ_t = ρ₀ (1 / ρ₀)^(t / (T − 1)):
 *
 * 1. X = (W H Z_Bᵀ + p (Z_A − U_A)) (G + p I)⁻¹, G = Z_B H Z_Bᵀ, p = ρ_t · mean(diag G)
 * 2. Z_A = proj(X + U_A), U_A ← U_A + X − Z_A
 * 3. {@link STEPS} steps of preconditioned conjugate gradients from the last X for Q X H + p X = Z_Aᵀ W H + p (Z_B − U_B),
 *    Q = Z_Aᵀ Z_A, p = ρ_t · mean(diag Q), in the basis V
 * 4. Z_B = proj(X + U_B), U_B ← U_B + X − Z_B
 *
 * proj(S) = sign(S) ⊙ u vᵀ with the rank-1 approximation of |S|. Of the last two fifths of the iterations the one with
 * the least error wins.
 *
 * In the basis V all that an iteration needs of W and H is W Vᵀ Λ. Its products are 2 m n r + 2 r n² + 6 r² n + 2 m r²
 * multiplications and additions. The error of a pair comes free from the next iteration's products:
 * tr(F H Fᵀ) = tr(W H Wᵀ) − 2 tr(Z_Aᵀ W H Z_Bᵀ) + tr(Q G).
 */

import { Graph, type Tensor } from '../../graph/graph';
import {
  copy,
  magnitudeProjection,
  multiply,
  ridgeDescent,
  ridgeSolve,
  rowDots,
  times,
  timesTransposed,
} from '../../graph/operations/factor_fit';
import { signsOf } from '../../graph/operations/training';
import { transpose } from '../../graph/operations/transpose';
import { Plan, runOnce } from '../../graph/plan';
import { Matrix } from '../../native/matrix';
import type { InputBasis } from '../input_basis';
import { bindPair, createPair, disposePair, type PairMatrices } from './pair_matrices';
import type { StartingFactors } from './start';

/** Steps of conjugate gradients per iteration. */
const STEPS = 4;
/** The iterations after this part of all are candidates. */
const CANDIDATES_FROM = 0.6;

/** Settings of {@link alternate}. */
export interface AdmmSettings {
  /** T, the number of iterations. */
  readonly iterations: number;
  /** ρ₀, the first ridge. */
  readonly ridge: number;
  /** Called after every iteration with √(tr(F H Fᵀ) / tr(W H Wᵀ)). */
  readonly onIteration?: ((error: number) => void) | undefined;
}

/** The state of the iterations. */
class State {
  readonly a: ReturnType<typeof sideOf>;
  readonly b: ReturnType<typeof sideOf>;
  /** X of step 3, U_B and Z_B in the basis V, [r, n]. */
  readonly x: Matrix;
  readonly dual: Matrix;
  readonly projected: Matrix;
  /** W Vᵀ Λ [m, n]. */
  readonly target: Matrix;
  /** W H Z_Bᵀ [m, r], and G [r, r]. */
  readonly moments: Matrix;
  readonly gram: Matrix;

  constructor(m: number, n: number, r: number) {
    this.a = sideOf(m, r);
    this.b = sideOf(r, n);
    this.x = new Matrix({ rows: r, cols: n });
    this.dual = new Matrix({ rows: r, cols: n });
    this.projected = new Matrix({ rows: r, cols: n });
    this.target = new Matrix({ rows: m, cols: n });
    this.moments = new Matrix({ rows: m, cols: r });
    this.gram = new Matrix({ rows: r, cols: r });
  }

  [Symbol.dispose](): void {
    const { x, dual, projected, target, moments, gram } = this;
    const sides = [this.a, this.b].flatMap((side) => Object.values(side));
    for (const matrix of [...sides, x, dual, projected, target, moments, gram]) matrix.dispose();
  }
}

function sideOf(rows: number, cols: number) {
  return {
    z: new Matrix({ rows, cols }),
    dual: new Matrix({ rows, cols }),
    rowScales: new Matrix({ rows: 1, cols: rows }),
    columnScales: Matrix.from(new Float32Array(cols).fill(1), { rows: 1, cols }),
  };
}

function bindSide(graph: Graph, { z, dual, rowScales, columnScales }: ReturnType<typeof sideOf>) {
  return {
    z: graph.bind(z),
    dual: graph.bind(dual),
    rowScales: graph.bind(rowScales),
    columnScales: graph.bind(columnScales),
  };
}

/**
 * Fits a pair to `weight` [m, n], f32, from these factors. The result's sOut is u_A, its sMid v_A ⊙ u_B, its sIn v_B. Returns
 * it with its error. Dispose it.
 */
export async function alternate(
  weight: Matrix,
  { vectors, values }: Pick<InputBasis, 'vectors' | 'values'>,
  start: StartingFactors,
  { iterations, ridge, onIteration }: AdmmSettings,
  signal: AbortSignal | undefined,
): Promise<{ readonly pair: PairMatrices; readonly error: number }> {
  const rank = start.a.cols;
  using state = new State(weight.rows, weight.cols, rank);
  const whole = await begin(weight, { vectors, values }, start, state, signal);
  await using iterate = new Plan(iteration({ vectors, values }, state));
  const pair = createPair(weight, rank);
  try {
    await using store = new Plan(storing(state, pair));
    let best = Infinity;
    for (let t = 0; t < iterations; t++) {
      const rho = iterations > 1 ? ridge * (1 / ridge) ** (t / (iterations - 1)) : ridge;
      const { cross, square } = await iterate.run({ inputs: { ridge: Float32Array.of(rho) }, signal });
      const squared = whole - 2 * sum(cross as Float32Array) + sum(square as Float32Array);
      const error = whole > 0 ? Math.sqrt(Math.max(0, squared) / whole) : 0;
      onIteration?.(error);
      if (t + 1 < iterations && (t <= CANDIDATES_FROM * iterations || error >= best)) continue;
      if (error >= best) break;
      best = error;
      await store.run({ signal });
    }
    return { pair, error: best };
  } catch (error) {
    disposePair(pair);
    throw error;
  }
}

function sum(values: Float32Array): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Projects the factors, prepares the first iteration and returns tr(W H Wᵀ). */
async function begin(
  weight: Matrix,
  { vectors, values }: Pick<InputBasis, 'vectors' | 'values'>,
  start: StartingFactors,
  state: State,
  signal: AbortSignal | undefined,
): Promise<number> {
  const graph = new Graph();
  const turned = timesTransposed(graph.bind(weight), graph.bind(vectors));
  const target = multiply(turned, graph.bind(values));
  copy(target, graph.bind(state.target));
  graph.output('whole', rowDots(turned, target));
  for (const [factor, side] of [
    [start.a, state.a],
    [start.b, state.b],
  ] as const) {
    // the duals of the iterations start at zero
    const dual = graph.create(factor);
    graph.emit('zero', [], [dual]);
    magnitudeProjection(graph.bind(factor), { ...bindSide(graph, side), dual });
  }
  copy(measure(graph, { vectors, values }, state), graph.bind(state.x));
  return sum((await runOnce(graph, signal)).whole as Float32Array);
}

/** Emits Z_B in the basis, and the products with it; returns the former. */
function measure(graph: Graph, { vectors, values }: Pick<InputBasis, 'vectors' | 'values'>, state: State): Tensor {
  const projected = timesTransposed(graph.bind(state.b.z), graph.bind(vectors), graph.bind(state.projected));
  timesTransposed(multiply(projected, graph.bind(values)), projected, graph.bind(state.gram));
  timesTransposed(graph.bind(state.target), projected, graph.bind(state.moments));
  return projected;
}

function iteration(basis: Pick<InputBasis, 'vectors' | 'values'>, state: State): Graph {
  const graph = new Graph();
  const ridge = graph.input('ridge', { rows: 1, cols: 1 });
  const [a, b] = [bindSide(graph, state.a), bindSide(graph, state.b)];
  const towards = { z: a.z, u: a.dual };
  magnitudeProjection(ridgeSolve(graph.bind(state.gram), graph.bind(state.moments), ridge, towards), a);
  // one transpose is cheaper than two products that read Z_A down its columns
  const transposed = transpose(a.z);
  const q = timesTransposed(transposed, transposed);
  const m = times(transposed, graph.bind(state.target));
  const [x, z, lambda] = [graph.bind(state.x), graph.bind(state.projected), graph.bind(basis.values)];
  ridgeDescent({ q, m, z, lambda, ridge }, graph.bind(state.dual), x, STEPS);
  magnitudeProjection(times(x, graph.bind(basis.vectors)), b);
  measure(graph, basis, state);
  graph.output('cross', rowDots(a.z, graph.bind(state.moments)));
  graph.output('square', rowDots(q, graph.bind(state.gram)));
  return graph;
}

/** Copies signs and scales of the present iteration to `pair`. */
function storing({ a, b }: State, pair: PairMatrices): Graph {
  const graph = new Graph();
  const to = bindPair(graph, pair);
  signsOf(graph.bind(a.z), to.a, 0);
  signsOf(graph.bind(b.z), to.b, 0);
  copy(graph.bind(a.rowScales), to.sOut);
  copy(multiply(graph.bind(a.columnScales), graph.bind(b.rowScales)), to.sMid);
  copy(graph.bind(b.columnScales), to.sIn);
  return graph;
}
