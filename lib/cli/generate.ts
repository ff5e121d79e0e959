import type { GenerationResult } from '../generate/options';
import { Model } from '../model';
import { type Command, type CommandCall, given, type Outcome } from './command';
import { StatusLine, say } from './terminal';

export const generateCommand: Command = {
  name: 'generate',
  summary: 'Continue a text.',
  operands: ['MODEL'],
  options: {
    prompt: { kind: 'text', value: 'TEXT', help: 'how the text begins; needed, "" begins a new one' },
    'max-tokens': { kind: 'integer', value: 'N', minimum: 1, help: 'at most so many', byDefault: '200' },
    temperature: { kind: 'number', value: 'X', minimum: 0, help: '0: always the likeliest token', byDefault: '1' },
    'top-k': { kind: 'integer', value: 'N', minimum: 0, help: 'only the N likeliest tokens', byDefault: '0: all' },
    'top-p': {
      kind: 'number',
      value: 'X',
      minimum: 0,
      maximum: 1,
      help: 'only the likeliest that reach X',
      byDefault: '1',
    },
    'min-p': {
      kind: 'number',
      value: 'X',
      minimum: 0,
      maximum: 1,
      help: 'only those X times as likely as the first',
      byDefault: '0',
    },
    'repetition-penalty': {
      kind: 'number',
      value: 'X',
      minimum: 0,
      help: 'above 1: fewer repetitions',
      byDefault: '1',
    },
    seed: { kind: 'integer', value: 'N', minimum: 0, help: 'the same text again', byDefault: 'another each time' },
    stop: { kind: 'text', value: 'TEXT', many: true, help: 'end before this text; may be given several times' },
    precision: { kind: 'choice', choices: ['f32', 'bf16'], help: 'of dense products', byDefault: 'f32' },
  },
  help: `The continuation appears on stdout as it is made; why it ended and how fast it was, on stderr. With --json it
appears at the end, with all that.`,
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
  const options = given({
    maxTokens: call.number('max-tokens') ?? 200,
    temperature: call.number('temperature'),
    topK: call.number('top-k'),
    topP: call.number('top-p'),
    minP: call.number('min-p'),
    repetitionPenalty: call.number('repetition-penalty'),
    seed: call.number('seed'),
    stop: call.texts('stop'),
    precision: call.text('precision') as 'f32' | 'bf16' | undefined,
  });
  try {
    await using model = await Model.load(call.operand(0), { signal, onProgress: status.progress('load') });
    status.clear();
    const generation = model.generate(prompt, { ...options, signal });
    const quiet = call.flag('json');
    for await (const piece of generation) if (!quiet) process.stdout.write(piece);
    if (!quiet) process.stdout.write('\n');
    return outcome(await generation.result, quiet);
  } finally {
    status.clear();
  }
}

function outcome(result: GenerationResult, quiet: boolean): Outcome {
  const { text, reason, tokens, promptTokens, seed, prefillSeconds, decodeSeconds } = result;
  const tokensPerSecond = tokens > 1 ? (tokens - 1) / decodeSeconds : 0;
  if (!quiet && process.stderr.isTTY)
    say(`[${reason}, ${tokens} tokens, ${tokensPerSecond.toFixed(1)} tokens/s, seed ${seed}]`);
  return { json: { text, reason, tokens, promptTokens, seed, prefillSeconds, tokensPerSecond }, lines: [] };
}
