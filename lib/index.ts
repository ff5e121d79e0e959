/**
 * mbok: Boolean large language models. Convert a trained model to a few ±1 matrices per weight, finetune those bits
 * directly, evaluate and run the result.
 *
 * @packageDocumentation
 */

import './native/bundled_binaries';

export * from './api';
