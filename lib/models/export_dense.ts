/** A Boolean model as the dense one that it stands for. */

import { type DenseContents, writeDenseFolder } from './dense_folder';
import type { ModelCore } from './model_core';
import type { OutputOptions } from './model_folder';
import { moduleOf } from './parts';
import type { ProgressOptions } from './stored_matrix';
import { multipliedOut } from './widen';

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
