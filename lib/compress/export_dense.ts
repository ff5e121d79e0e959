/** Export of a Boolean model as a dense one: Ŵ = Σₖ diag(sOut[k]) · B[k] · diag(sIn[k]) for every layer. */

import { oneOf, options } from '../base/validate';
import { expectModel, type Model } from '../model';
import { type DenseContents, writeDenseFolder } from '../models/dense_folder';
import type { OutputOptions } from '../models/model_folder';
import { moduleOf } from '../models/parts';
import type { ProgressOptions } from '../models/stored_matrix';
import { multipliedOut } from '../models/widen';

const STORED_TYPES = { f32: 'F32', f16: 'F16' } as const;
export const EXPORT_TYPES: readonly ExportType[] = ['f32', 'f16'];
/** Element types of {@link exportDense}. */
export type ExportType = 'f32' | 'f16';

/** Options of {@link exportDense}. */
export interface ExportOptions extends ProgressOptions, OutputOptions {
  /** Element type of all weights. 'f32' gives the same logits; 'f16' halves the files and rounds. Default 'f32'. */
  readonly type?: ExportType | undefined;
}

/**
 * Writes a model as a dense Hugging Face folder, which transformers reads. The kernels of every layer are multiplied
 * out, with one dense matrix in memory at a time. The folder appears completely or not at all.
 *
 * @param model - Boolean or dense; not changed
 * @param folder - a new folder, or one that may be replaced, as for {@link Model.save}
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_IO, MBOK_NON_FINITE if a weight is too large or too small for F16,
 * MBOK_BUSY if the model is being finetuned, MBOK_DISPOSED, MBOK_OUT_OF_MEMORY, MBOK_ABORTED
 *
 * @example
 * await exportDense(small, 'dense', { type: 'f16' });
 */
export async function exportDense(model: Model, folder: string, given: ExportOptions = {}): Promise<void> {
  const { type: chosen = 'f32', ...rest } = options('options', given, ['type', 'overwrite', 'signal', 'onProgress']);
  const type = STORED_TYPES[oneOf('type', chosen, EXPORT_TYPES)];
  const core = expectModel('model', model);
  using _ = core.holdToRead();
  const { json, companions, parameters, formats } = core;
  const read: DenseContents['read'] = (owner) => multipliedOut(owner, formats.get(moduleOf(owner.name)), parameters);
  const specifications = core.family.parameters(core.config);
  await writeDenseFolder(folder, { type, json, companions, specifications, read }, rest);
}
