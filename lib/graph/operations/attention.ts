import { MbokError } from '../../base/errors';
import { matrixShape, type OperationDefinition, type Shape, type Tensor } from '../graph';
import { expectShape, required } from '../operation';
import { precisionCode } from './linear';

export interface AttentionOptions {
  readonly headDimension: number;
  /** Factor of the scores before the softmax. Default 1 / √headDimension. */
  readonly scale?: number;
  /** Each query sees only its `window` latest keys, itself included. Default 0: all of them. */
  readonly window?: number;
  /** Scores are kept within ±softcap, as softcap · tanh(score / softcap). Default 0: as they are. */
  readonly softcap?: number;
}

function encode({ headDimension, scale = 1 / Math.sqrt(headDimension), window = 0, softcap = 0 }: AttentionOptions) {
  return [headDimension, scale, window, softcap];
}

/** Checks q, k and v against each other and returns q's shape. */
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

/** Causal softmax attention; the second output is the logarithm of each softmax denominator, for the gradient. */
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
 * Causal attention within each sequence of a run: q [rows, H·d], k and v [rows, Hkv·d] with H a multiple of Hkv
 * (grouped heads): [rows, H·d]. No matrix of rows × rows is kept. Products are in the graph's precision, scores and sums
 * always f32.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
  return q.graph.apply(definition, [q, k, v], [...encode(options), precisionCode(q)])[0] as Tensor;
}

/** Where the rows of a run belong in a cache of several sequences. */
export interface Places {
  /** i32 [rows, 1]: the sequence of each row. */
  readonly slots: Tensor;
  /** i32 [rows, 1]: its position there. */
  readonly positions: Tensor;
  /** Rows of the cache that each sequence has. */
  readonly capacity: number;
}

/**
 * Attention of sequences that go on: k and v are first stored in `keyCache` and `valueCache`, which are f32, or f16 and
 * round them. Without `places` these [context, Hkv·d] are one sequence's and the run's rows stand at the run's position and
 * after it; with `places` they are [slots · capacity, Hkv·d] and every row has its own place. Within a
 * sequence's rows the numbers lie head by head. For inference; has no gradient.
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
