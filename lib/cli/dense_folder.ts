/** A Boolean model as the dense one that it stands for. */

import { filled } from '../graph/filled';
import { reconstruct } from '../graph/operations/conversion';
import { untiled } from '../models/bit_tiles';
import { moduleOf, type ProgressOptions } from '../models/checkpoint';
import { type DenseContents, writeDenseFolder } from '../models/dense_folder';
import type { ModelCore } from '../models/model_core';
import type { OutputOptions } from '../models/model_folder';
import { widened } from '../models/widen';
import { Matrix } from '../native/matrix';
import { scaleName } from '../nn/builder';
import { INPUT_SCALES, KERNELS, OUTPUT_SCALES } from '../nn/linear';

/**
 * Writes the folder; it appears whole or not at all. One dense matrix is in memory at a time. Throws MBOK_IO,
 * MBOK_ABORTED, MBOK_BUSY, MBOK_DISPOSED.
 */
export async function exportDense(
  model: ModelCore,
  folder: string,
  { type, ...options }: ProgressOptions & OutputOptions & Pick<DenseContents, 'type'>,
): Promise<void> {
  using _ = model.holdToRead();
  const { json, companions, kernels } = model;
  const read: DenseContents['read'] = ({ name, rows, cols, role }) => {
    const module = moduleOf(name);
    return role === 'linear' && kernels.has(module)
      ? multiplyOut(model, module, { rows, cols })
      : plainNumbers(model, name);
  };
  const specifications = model.family.parameters(model.config);
  await writeDenseFolder(folder, { type, json, companions, specifications, read }, options);
}

function parameter(model: ModelCore, name: string): Matrix {
  return model.parameters.get(name) as Matrix;
}

/** A matrix that is not of kernels, whatever its element type. */
function plainNumbers(model: ModelCore, name: string): Promise<Matrix> {
  return widened(parameter(model, name), model.parameters.get(scaleName(name)));
}

/** Ŵ = Σₖ diag(s_out[k]) B[k] diag(s_in[k]) of one module. */
async function multiplyOut(model: ModelCore, module: string, shape: { rows: number; cols: number }): Promise<Matrix> {
  const count = model.kernels.get(module) as number;
  const kernels = await untiled(parameter(model, `${module}.${KERNELS}`), { kernels: count, rows: shape.rows });
  try {
    return await filled(new Matrix(shape), (graph, dense) => {
      const [sOut, sIn] = [OUTPUT_SCALES, INPUT_SCALES].map((name) =>
        graph.bind(parameter(model, `${module}.${name}`)),
      );
      reconstruct({ kernels: graph.bind(kernels), sOut, sIn } as Parameters<typeof reconstruct>[0], dense);
    });
  } finally {
    kernels.dispose();
  }
}
