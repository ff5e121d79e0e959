/** Arithmetic options of commands that run models. */

import { ACTIVATION_BITS, type ActivationBits, PRECISIONS, type Precision } from '../graph/arithmetic';
import { type CommandCall, given, type OptionTable } from './command';

export const ARITHMETIC_OPTIONS: OptionTable = {
  precision: { kind: 'choice', choices: PRECISIONS, help: 'precision of dense products', byDefault: 'f32' },
  activations: {
    kind: 'choice',
    choices: ACTIVATION_BITS.map(String),
    help: 'bits to which the inputs of Boolean layers are rounded',
    byDefault: 'as the precision requires',
  },
};

/** Reads the arithmetic options of a call. */
export function givenArithmetic(call: CommandCall): { precision?: Precision; activations?: ActivationBits } {
  const bits = call.text('activations');
  return given({
    precision: call.text('precision') as Precision | undefined,
    activations: bits === undefined ? undefined : (Number(bits) as ActivationBits),
  });
}
