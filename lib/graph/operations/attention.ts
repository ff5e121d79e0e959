import { MbokError } from '../../base/errors';
import { finiteNumber, integerInRange, options } from '../../base/validate';
import { matrixShape, type OperationDefinition, type Shape, type Tensor } from '../graph';
import { expectShape, graphOf, required } from '../operation';
import { precisionCode } from './linear';

/** Options of {@link attention}. */
export interface AttentionOptions {
  /** Columns of one head. */
  readonly headDimension: number;
  /** Factor of the scores before the softmax. Default 1 / √headDimension. */
  readonly scale?: number;
  /** Number of latest keys that each query sees, including its token's key. Default 0: no limit. */
  readonly window?: number;
  /** Limit of the scores: they become softcap · tanh(score / softcap). Default 0: no limit. */
  readonly softcap?: number;
}

function encode({ headDimension, scale = 1 / Math.sqrt(headDimension), window = 0, softcap = 0 }: AttentionOptions) {
  return [headDimension, scale, window, softcap];
}

/** Checks that the shapes of q, k and v fit together; returns q's. Throws MBOK_SHAPE. */
function queryShape(name: string, [q, k, v]: readonly (Shape | undefined)[], headDimension: number): Shape {
  const query = expectShape(name, 'q', q, {});
  const key = expectShape(name, 'k', k, { rows: query.rows });
  expectShape(name, 'v', v, key);
  if (query.cols % headDimension !== 0 || key.cols % headDimension !== 0 || query.cols % key.cols !== 0) {
    throw new MbokError(
      'MBOK_SHAPE',
      `${name}: ${query.cols} query and ${key.cols} key columns do not form groups of heads of ${headDimension}`,
    );
  }
  return query;
}

/**
 * Causal softmax attention. The second output is the logarithm of each softmax denominator, which the gradient needs.
 */
const definition: OperationDefinition = {
  name: 'attention',
  outputs(inputs, [headDimension = 0]) {
    const query = queryShape('attention', inputs, headDimension);
    return [query, matrixShape(query.rows, query.cols / headDimension)];
  },
  gradient({ inputs, outputs, attributes, upstream }) {
    const gradients = inputs.map((input) => {
      const tensor = required('attention', 'input', input);
      return tensor.graph.create(tensor);
    });
    const dy = required('attention', 'dy', upstream(0));
    dy.graph.emit('attention_gradient', [dy, ...inputs, ...outputs], gradients, attributes);
    return gradients;
  },
};

/**
 * Computes causal attention with grouped heads (arXiv 1706.03762, 2305.13245): softmax(scale · q kᵀ) v for every head, over
 * the token and the tokens before it in its sequence. Rows of a run are sequences of its scalar `sequenceLength`, one after
 * the other. No matrix of rows × rows is stored. Products are in the graph's precision; scores and sums are f32.
 *
 * @param q - queries [rows, H · headDimension], f32
 * @param k - keys [rows, Hkv · headDimension], where H is a multiple of Hkv
 * @param v - values, of the shape of k
 * @returns a tensor of the shape of q
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_SHAPE if columns do not form such heads
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, given: AttentionOptions): Tensor {
  const checked = options('options', given, ['headDimension', 'scale', 'window', 'softcap']);
  integerInRange('headDimension', checked.headDimension, 1);
  if (checked.scale !== undefined) finiteNumber('scale', checked.scale);
  integerInRange('window', checked.window ?? 0, 0);
  finiteNumber('softcap', checked.softcap ?? 0, 0);
  return graphOf('q', q).apply(definition, [q, k, v], [...encode(checked), precisionCode(q)])[0] as Tensor;
}

/** The rows of a run, assigned to sequences of a shared cache. */
export interface Places {
  /** Sequence of each row, i32 [rows, 1]. */
  readonly slots: Tensor;
  /** Position of each row in its sequence, i32 [rows, 1]. */
  readonly positions: Tensor;
  /** Rows of the cache per sequence. */
  readonly capacity: number;
}

/**
 * Computes attention over cached keys and values, for inference; has no gradient. First k and v are written to
 * `keyCache` and `valueCache`, which are f32 or f16 (rounded).
 *
 * Without `places` the caches [context, Hkv·d] belong to one sequence. The rows of the run are at the run's position
 * and after it. With `places` the caches are [slots · capacity, Hkv·d], and each row has a slot and a position. Within
 * the rows of a sequence the layout is [head][position][d].
 */
export function cachedAttention(
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  [keyCache, valueCache]: readonly [Tensor, Tensor],
  options: AttentionOptions,
  places?: Places,
): Tensor {
  const query = queryShape('attention_cached', [q, k, v], options.headDimension);
  const { rows, type } = keyCache;
  expectShape('attention_cached', 'keyCache', keyCache, { cols: k.cols, type: type === 'f16' ? type : 'f32' });
  expectShape('attention_cached', 'valueCache', valueCache, { rows, cols: k.cols, type });
  const output = q.graph.create(query);
  const inputs = places ? [q, k, v, places.slots, places.positions] : [q, k, v];
  const attributes = [...encode(options), places?.capacity ?? 0];
  q.graph.emit('attention_cached', inputs, [output, keyCache, valueCache], attributes);
  return output;
}
