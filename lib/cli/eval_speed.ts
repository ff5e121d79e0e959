import { measureSpeed, type Rate } from '../eval/speed';
import { inspect } from '../models/inspect';
import { addon, guarded } from '../native/addon';
import { rate } from '../report/format';
import { ARITHMETIC_OPTIONS, givenArithmetic } from './arithmetic';
import { type Command, type CommandCall, given, type Outcome } from './command';
import { LOAD_OPTIONS, loadModel, modelPath } from './load_model';
import { usedResources } from './resources';
import { megabytes, StatusLine } from './terminal';

export const speedCommand: Command = {
  name: 'eval speed',
  summary: 'Measure the speed of loading, prefill and decode.',
  operands: ['MODEL'],
  options: {
    prompt: {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'tokens of the prompt',
      byDefault: "512, or the model's limit",
    },
    tokens: {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'tokens decoded one by one',
      byDefault: "64, or the model's limit",
    },
    repeats: { kind: 'integer', value: 'N', minimum: 1, help: 'measurements of each', byDefault: '5' },
    ...LOAD_OPTIONS,
    ...ARITHMETIC_OPTIONS,
  },
  help: `Prefill computes a whole prompt at once. Decode computes one token after the other, from an empty cache. Both end with
the logits and exclude sampling. Each runs once as a warm-up, then the median of the repeats is taken; their range shows
how quiet the machine was. Loading reads the file from the disk, or from memory if it was read before.

Figures hold for the processor, the instruction set, the number of threads and the precision, which are all part of the
result. mbok info shows them; MBOK_THREADS and MBOK_ISA change them.`,
  examples: ['mbok eval speed assets/tiny-stories', 'mbok eval speed MODEL --precision bf16 --tokens 128 --json'],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const status = new StatusLine();
  const { signal } = call;
  try {
    const path = await modelPath(call, call.operand(0), status);
    const { bytes, bitsPerWeight } = await inspect(path);
    const started = performance.now();
    await using model = await loadModel(call, path, status);
    const loadSeconds = (performance.now() - started) / 1000;
    const options = given({
      prompt: call.number('prompt'),
      tokens: call.number('tokens'),
      repeats: call.number('repeats'),
      ...givenArithmetic(call),
    });
    const result = await measureSpeed(model, { ...options, signal, onProgress: status.progress('measure') });
    const { prompt, prefill, tokens, decode, repeats, precision, activations } = result;
    const { cpu, isa, threads } = guarded(() => addon().info());
    const rounding = activations === undefined ? '' : `, activations of ${activations} bits`;
    return {
      json: { bytes, bitsPerWeight, loadSeconds, ...result, cpu, isa, threads },
      lines: [
        `load     ${loadSeconds.toFixed(2)} s, ${megabytes(bytes)} on disk, ${megabytes(usedResources().peakMemory)} peak memory`,
        `prefill  ${perSecond(prefill)} of ${prompt} tokens`,
        `decode   ${perSecond(decode)} of ${tokens} tokens`,
        `medians of ${repeats}; ${precision}${rounding}; ${cpu}, ${isa}, ${threads} threads`,
      ],
    };
  } finally {
    status.clear();
  }
}

function perSecond({ median, least, most }: Rate): string {
  return `${rate(median)} tokens/s (${rate(least)} to ${rate(most)})`;
}
