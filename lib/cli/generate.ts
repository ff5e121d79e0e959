import type { Command, CommandCall, Outcome } from './command';
import { LOAD_OPTIONS, loadModel } from './load_model';
import { givenSampling, resultJson, resultLine, samplingOptions } from './sampling';
import { StatusLine, say } from './terminal';

export const generateCommand: Command = {
  name: 'generate',
  summary: 'Continue a text.',
  operands: ['MODEL'],
  options: {
    prompt: { kind: 'text', value: 'TEXT', help: 'start of the text, required; "" for none' },
    ...LOAD_OPTIONS,
    ...samplingOptions({ maxTokens: '200', temperature: '1' }),
  },
  help: `The continuation is streamed to stdout. The reason of its end, its speed and the size of its key-value cache go to
stderr. With --json everything appears at the end.`,
  examples: [
    'mbok generate assets/tiny-stories --prompt "Once upon a time" --max-tokens 100 --temperature 0',
    'mbok generate MODEL --prompt "Dear diary," --temperature 0.8 --top-p 0.95 --seed 7 --json',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const status = new StatusLine();
  const prompt = call.required('prompt');
  const { signal } = call;
  const options = { maxTokens: 200, ...givenSampling(call) };
  try {
    await using model = await loadModel(call, call.operand(0), status);
    status.clear();
    const generation = model.generate(prompt, { ...options, signal });
    const quiet = call.flag('json');
    for await (const piece of generation) if (!quiet) process.stdout.write(piece);
    if (!quiet) process.stdout.write('\n');
    const result = await generation.result;
    if (!quiet && process.stderr.isTTY) say(resultLine(result));
    return { json: resultJson(result), lines: [] };
  } finally {
    status.clear();
  }
}
