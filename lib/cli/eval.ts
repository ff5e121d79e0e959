import { evaluatePerplexity } from '../eval/perplexity';
import { ARITHMETIC_OPTIONS, givenArithmetic } from './arithmetic';
import { type Command, type CommandCall, given, type Outcome } from './command';
import { cutNote, DATA_OPTIONS, givenStartToken, openText, requiredTextFiles, textOption } from './data';
import { LOAD_OPTIONS, loadModel } from './load_model';
import { StatusLine } from './terminal';

/** Default window. Text beyond the last window need not be read. */
const LONGEST_DEFAULT_WINDOW = 2048;

export const perplexityCommand: Command = {
  name: 'eval perplexity',
  summary: 'Measure how well a model predicts a text.',
  operands: ['MODEL'],
  options: {
    text: textOption('the text, needed'),
    ...DATA_OPTIONS,
    window: {
      kind: 'integer',
      value: 'N',
      minimum: 2,
      help: 'tokens of a window, the start token included',
      byDefault: "2048, or the model's limit",
    },
    stride: {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'tokens of the text from one window to the next; fewer than a window holds: they overlap',
      byDefault: 'all that a window holds',
    },
    'max-windows': {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: "at most so many from the start; 256 for C4's usual figures",
      byDefault: 'all',
    },
    ...LOAD_OPTIONS,
    ...ARITHMETIC_OPTIONS,
  },
  help: `Perplexity is e to the mean negative log-likelihood of the text's tokens: 1 is clairvoyance, the vocabulary's
size is guessing. The text is joined and cut into windows from its start, the rest that fills none left out; every
position but a window's first is scored. With a stride, windows overlap and each scores only what none before it has.
Of conversations (--chat) only what the assistant says is scored, in windows that hold any of it.

Where the tokenizer puts a start token before a text (Gemma, LLaMA, Mistral, OPT), every window begins with it and holds
one token less of the text: no token of the text is lost, all are scored. --start-token stream cuts the text as it is, as
published figures of LLaMA and OPT do.

Documents (separated by <|endoftext|>, or lines of *.jsonl, or files) are each preceded by the token that starts one;
a text of one document is taken as the tokenizer gives it, as published figures of WikiText-2 are.
Figures can be compared only for the same text, window, stride, start and tokenizer: all are part of the result.`,
  examples: [
    'mbok eval perplexity assets/tiny-stories --text assets/tiny-stories/corpus/valid.txt --window 256 --json',
    'mbok eval perplexity MODEL --text wiki.test.raw --precision bf16',
    'mbok eval perplexity LLAMA --text wiki.test.raw --start-token stream',
    'mbok eval perplexity MODEL --text c4-validation.jsonl --max-windows 256',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const text = await requiredTextFiles(call, 'text');
  const status = new StatusLine();
  const { signal } = call;
  try {
    await using model = await loadModel(call, call.operand(0), status);
    const [window, maxWindows] = [call.number('window'), call.number('max-windows')];
    // in conversations the scored windows may lie anywhere, so read all
    const maxTokens = call.flag('chat') ? undefined : maxWindows && (window ?? LONGEST_DEFAULT_WINDOW) * maxWindows + 1;
    await using data = await openText(text, call, model, status, maxTokens);
    const options = given({
      window,
      maxWindows,
      stride: call.number('stride'),
      startToken: givenStartToken(call),
      ...givenArithmetic(call),
    });
    const result = await evaluatePerplexity(model, data, {
      ...options,
      signal,
      onProgress: ({ done, perplexity }) => status.bar('evaluate', done, `perplexity ${perplexity.toFixed(3)}`),
    });
    const { perplexity, tokens, scored, windows, window: size, stride, startToken, precision, activations } = result;
    const { vocabSize, fingerprint } = model.tokenizer;
    const rounding = activations === undefined ? '' : `, activations of ${activations} bits`;
    const what = scored === 'assistant' ? 'tokens of the assistant' : 'tokens';
    const overlap = call.has('stride') ? `, stride ${stride}` : '';
    return {
      json: { ...result, text, tokenizer: { vocabSize, fingerprint } },
      lines: [
        `perplexity ${perplexity.toFixed(4)}  (${tokens} ${what} scored in ${windows} windows of ${size}${overlap})`,
        `of ${text.join(', ')}, ${cutNote(startToken)}, tokenizer of ${vocabSize} tokens (${fingerprint.slice(0, 8)}), ${precision}${rounding}`,
      ],
    };
  } finally {
    status.clear();
  }
}
