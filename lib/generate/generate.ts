/** One text from a model. */

import type { ModelCore } from '../models/model_core';
import { Generation } from './generation';
import { contextOf, type GenerationRequest } from './request';
import { Scheduler } from './scheduler';

/** See `model.generate`: a scheduler of one slot, which ends with the text. */
export function generate(model: ModelCore, request: GenerationRequest): Generation {
  const { arithmetic, options } = request;
  const { promptCache } = options;
  const scheduler = new Scheduler(model, { slots: 1, context: contextOf(request), arithmetic, promptCache });
  return new Generation(scheduler, request, true);
}
