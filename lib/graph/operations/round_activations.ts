import type { ActivationBits } from '../arithmetic';
import type { OperationDefinition, Tensor } from '../graph';
import { expectShape } from '../operation';

/** y = x rounded to a few bits, 64 rotated numbers with one scale each. Attribute: bits. Not for learning. */
const definition: OperationDefinition = {
  name: 'round_activations',
  outputs: ([x]) => [expectShape('round_activations', 'x', x, {})],
};

/** An f32 tensor as a layer that reads `bits` bits of each input would see it. */
export function roundActivations(x: Tensor, bits: ActivationBits): Tensor {
  return x.graph.apply(definition, [x], [bits])[0] as Tensor;
}
