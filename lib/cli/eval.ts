import { evaluatePerplexity } from '../eval/perplexity';
import { Model } from '../model';
import { type Command, type CommandCall, given, type Outcome } from './command';
import { readText } from './files';
import { StatusLine } from './terminal';

export const perplexityCommand: Command = {
  name: 'eval perplexity',
  summary: 'Measure how well a model predicts a text.',
  operands: ['MODEL'],
  options: {
    text: { kind: 'text', value: 'FILE', help: 'the text; needed' },
    window: {
      kind: 'integer',
      value: 'N',
      minimum: 2,
      help: 'tokens of a window',
      byDefault: "2048, or the model's limit",
    },
    'max-windows': {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'at most so many from the start',
      byDefault: 'all',
    },
    precision: { kind: 'choice', choices: ['f32', 'bf16'], help: 'of dense products', byDefault: 'f32' },
  },
  help: `Perplexity is e to the mean negative log-likelihood of the text's tokens: 1 is clairvoyance, the vocabulary's
size is guessing. The text's documents, separated by <|endoftext|>, are each preceded by the token that starts a
document, joined, and cut into windows that do not overlap; every position but a window's first is scored.
Figures can be compared only for the same text, window and tokenizer.`,
  examples: [
    'mbok eval perplexity assets/tiny-stories --text assets/tiny-stories/corpus/valid.txt --window 256 --json',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const text = await readText(call.required('text'));
  const status = new StatusLine();
  const { signal } = call;
  try {
    await using model = await Model.load(call.operand(0), { signal, onProgress: status.progress('load') });
    const options = given({
      window: call.number('window'),
      maxWindows: call.number('max-windows'),
      precision: call.text('precision') as 'f32' | 'bf16' | undefined,
    });
    const result = await evaluatePerplexity(model, text, {
      ...options,
      signal,
      onProgress: ({ done, perplexity }) => status.bar('evaluate', done, `perplexity ${perplexity.toFixed(3)}`),
    });
    const { perplexity, tokens, windows } = result;
    return {
      json: { perplexity, tokens, windows },
      lines: [`perplexity ${perplexity.toFixed(4)}  (${tokens} tokens scored in ${windows} windows)`],
    };
  } finally {
    status.clear();
  }
}
