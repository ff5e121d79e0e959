/** A Boolean model as the dense one that it stands for. */

import { join } from 'node:path';
import { filled } from '../graph/filled';
import { reconstruct } from '../graph/operations/conversion';
import { writeFile, writeFolder } from '../io/atomic';
import { f32ToHalf } from '../io/half';
import { type TensorSource, writeSafetensors } from '../io/safetensors';
import { untiled } from '../models/bit_tiles';
import { moduleOf, type ProgressOptions } from '../models/checkpoint';
import type { ModelCore } from '../models/model_core';
import { replacedBy, transposed } from '../models/transposed';
import { widened } from '../models/widen';
import { Matrix } from '../native/matrix';
import { scaleName } from '../nn/builder';
import { INPUT_SCALES, KERNELS, OUTPUT_SCALES } from '../nn/linear';
import { throwIfAborted } from '../validate';

/** What transformers calls the types; recent versions read `dtype`, earlier ones `torch_dtype`. */
const NAMES = { F32: 'float32', F16: 'float16' } as const;

/**
 * Writes the folder; it appears whole or not at all. One dense matrix is in memory at a time. Throws MBOK_IO,
 * MBOK_ABORTED, MBOK_DISPOSED.
 */
export async function exportDense(
  model: ModelCore,
  folder: string,
  { type, signal, onProgress }: ProgressOptions & { readonly type: keyof typeof NAMES },
): Promise<void> {
  const specifications = model.family.parameters(model.config);
  const tensors = specifications.map(({ name, rows, cols, role, transposed: turned }, index): TensorSource => {
    const bytes = async () => {
      throwIfAborted(signal);
      onProgress?.({ done: index / specifications.length, what: name });
      const dense = role === 'linear' && model.kernels.has(moduleOf(name));
      const matrix = dense ? await multiplyOut(model, moduleOf(name), { rows, cols }) : await plainNumbers(model, name);
      const data = await numbers(matrix, turned ?? false);
      const stored = type === 'F32' ? data : f32ToHalf(data, type);
      return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
    };
    const shape = turned ? [cols, rows] : [rows, cols];
    return { name, dtype: type, shape: rows === 1 ? [cols] : shape, bytes };
  });
  const { dtype: _, torch_dtype: __, ...json } = model.json;
  const config = { ...json, dtype: NAMES[type], torch_dtype: NAMES[type] };
  await writeFolder(folder, { signal }, async (directory) => {
    await writeFile(join(directory, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
    for (const [name, content] of model.companions) await writeFile(join(directory, name), content);
    await writeSafetensors(join(directory, 'model.safetensors'), tensors, { format: 'pt' });
  });
}

function parameter(model: ModelCore, name: string): Matrix {
  return model.parameters.get(name) as Matrix;
}

/** A matrix that is not of kernels, whatever its element type. */
function plainNumbers(model: ModelCore, name: string): Promise<Matrix> {
  return widened(parameter(model, name), model.parameters.get(scaleName(name)));
}

/** The numbers of a matrix, perhaps column by column, which is then freed. */
async function numbers(matrix: Matrix, byColumns: boolean): Promise<Float32Array> {
  const ordered = byColumns ? await replacedBy(matrix, transposed) : matrix;
  try {
    return ordered.toFloat32();
  } finally {
    ordered.dispose();
  }
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
