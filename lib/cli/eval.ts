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
    text: textOption('text to predict, required'),
    ...DATA_OPTIONS,
    window: {
      kind: 'integer',
      value: 'N',
      minimum: 2,
      help: 'tokens of a window, including the start token',
      byDefault: "2048, or the model's limit",
    },
    stride: {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'text tokens from one window to the next; smaller than a window: windows overlap',
      byDefault: 'the text tokens of a window',
    },
    'max-windows': {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: "largest number of windows, from the start; 256 for C4's usual figures",
      byDefault: 'all',
    },
    ...LOAD_OPTIONS,
    ...ARITHMETIC_OPTIONS,
  },
  help: `Perplexity is exp of the mean negative log-likelihood of the text's tokens. 1 is perfect prediction; uniform guessing
gives the vocabulary's size. The text is joined and cut into windows from its start, and a remainder shorter than a window
is dropped. Every position but the first of a window is scored. With a smaller stride windows overlap, and each scores
only tokens that no earlier window has scored. In conversations (--chat) only the assistant's tokens are scored, in
windows that contain any.

If the tokenizer puts a start token before a text (Gemma, LLaMA, Mistral, OPT), every window begins with it and contains
one text token less. No text token is lost, and all are scored. --start-token stream cuts the text as it is, as for the
published figures of LLaMA and OPT.

Each document (separated by <|endoftext|>, a line of *.jsonl, or a file) follows the token that starts a document. A
single document is tokenized like any text, as for published figures of WikiText-2.
Figures are comparable only for the same text, window, stride, start token and tokenizer: all are part of the result.`,
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
