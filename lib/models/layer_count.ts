import { MbokError } from '../base/errors';

/** Tensors of a block of the family that has the fewest, Phi-3: two norms and four matrices. */
const LEAST_LAYER_TENSORS = 6;

/**
 * Returns a number of blocks, for which lists are made, if a checkpoint of so many tensors can have them; else throws
 * MBOK_SHAPE.
 *
 * @param what - names the number in the message: file and key
 */
export function layersWithin(layers: number, tensors: number, what: string): number {
  if (layers * LEAST_LAYER_TENSORS <= tensors) return layers;
  throw new MbokError('MBOK_SHAPE', `${what} is ${layers}, but the checkpoint has only ${tensors} tensors`);
}
