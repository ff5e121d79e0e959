/** A matrix as a safetensors file stores it. */

import type { TensorHead, TensorSource } from '../io/safetensors';
import { type DenseStorage, type StoredMatrix, type StoredSpecification, storedBytes } from '../models/checkpoint';
import { rowBytes } from '../native/matrix';
import { INPUT_SCALES, KERNELS, OUTPUT_SCALES } from '../nn/linear';

/** Shape and type that a tensor of the model has in a file. Kernels of a module are `scales` many. */
export function storedTensor(name: string, stored: StoredMatrix): TensorSource {
  const { matrix, storage } = stored;
  const bytes = () => storedBytes(name, stored);
  if (storage === 'bits') {
    // rows are counted kernel by kernel; readers know how many kernels there are from the scales
    return { name, dtype: 'U8', shape: [matrix.rows, Math.ceil(matrix.cols / 8)], bytes };
  }
  const dtype = storage === 'Q8' ? 'U8' : storage;
  return { name, dtype, shape: [matrix.rows, storage === 'Q8' ? rowBytes('q8', matrix.cols) : matrix.cols], bytes };
}

/** What the header of a model's file says of a tensor; `storage` is that of one that stays as it was. */
export function storedHead(specification: StoredSpecification, storage: DenseStorage): TensorHead {
  const { name, rows, cols, as, transposed } = specification;
  if (as === 'kernels') {
    const { kernels } = specification;
    return { name, dtype: 'U8', shape: [kernels, rows / kernels, Math.ceil(cols / 8)] };
  }
  if (as === 'int8') return { name, dtype: 'I8', shape: [rows, cols] };
  if (as === 'scales') return { name, dtype: 'F16', shape: [rows, cols] };
  if (storage === 'Q8') return { name, dtype: 'U8', shape: [rows, rowBytes('q8', cols)] };
  if (transposed) return { name, dtype: storage, shape: [cols, rows] };
  return { name, dtype: storage, shape: rows === 1 ? [cols] : [rows, cols] };
}

/** Whether a tensor is one of a converted module. */
export function isConverted(name: string): boolean {
  return [KERNELS, OUTPUT_SCALES, INPUT_SCALES].some((part) => name.endsWith(`.${part}`));
}
