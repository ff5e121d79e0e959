import { MbokError } from '../base/errors';

/** Minimum number of tensors per block. Phi-3 has the fewest: two norms and four matrices. */
const LEAST_LAYER_TENSORS = 6;

/**
 * Returns `layers` if a checkpoint with this number of tensors can have as many blocks. Throws MBOK_SHAPE otherwise,
 * before lists of that length are created.
 *
 * @param what - file and key, for the message
 */
export function layersWithin(layers: number, tensors: number, what: string): number {
  if (layers * LEAST_LAYER_TENSORS <= tensors) return layers;
  throw new MbokError('MBOK_SHAPE', `${what} is ${layers}, but the checkpoint has only ${tensors} tensors`);
}
