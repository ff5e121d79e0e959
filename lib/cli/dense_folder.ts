/** A Boolean model as the dense one that it stands for. */

import type { ProgressOptions } from '../models/checkpoint';
import { type DenseContents, writeDenseFolder } from '../models/dense_folder';
import type { ModelCore } from '../models/model_core';
import type { OutputOptions } from '../models/model_folder';
import { moduleOf } from '../models/parts';
import { multipliedOut } from '../models/widen';

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
  const { json, companions, parameters, formats } = model;
  const read: DenseContents['read'] = (owner) => multipliedOut(owner, formats.get(moduleOf(owner.name)), parameters);
  const specifications = model.family.parameters(model.config);
  await writeDenseFolder(folder, { type, json, companions, specifications, read }, options);
}
