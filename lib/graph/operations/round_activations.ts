import type { ActivationBits } from '../arithmetic';
import type { OperationDefinition, Tensor } from '../graph';
import { expectShape } from '../operation';

/** y = x rounded to few bits, with one scale per 64 rotated numbers. Attribute: bits. Has no gradient. */
const definition: OperationDefinition = {
  name: 'round_activations',
  outputs: ([x]) => [expectShape('round_activations', 'x', x, {})],
};

/** Rounds an f32 tensor to `bits` bits per number, as hardware for low-precision activations would. */
export function roundActivations(x: Tensor, bits: ActivationBits): Tensor {
  return x.graph.apply(definition, [x], [bits])[0] as Tensor;
}
