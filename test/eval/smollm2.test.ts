/** A real model on published questions and text, against lm-evaluation-harness and transformers on the same weights. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { scoreGroups } from '../../lib/eval/likelihood';
import { loadTask, scoredTexts } from '../../lib/eval/load_task';
import { PairEncoder } from '../../lib/eval/pair_encoder';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { TASKS } from '../../lib/eval/tasks/registry';
import { arithmeticOf } from '../../lib/graph/arithmetic';
import { coreOf, Model } from '../../lib/model';
import { GOLDEN } from '../helpers/folders';
import { describeWithShared, sharedPath } from '../helpers/shared';

const FILE = 'models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf';
const TEXT = 'data/wikitext2_raw/wiki.test.raw';
const VALUES = 'golden/smollm2-135m-instruct/golden.json';

describeWithShared('SmolLM2', [FILE, TEXT, VALUES, 'data/tasks'], () => {
  let model: Model;
  beforeAll(async () => {
    model = await Model.load(sharedPath(FILE));
  });
  afterAll(() => model.dispose());

  const harness = JSON.parse(readFileSync(join(GOLDEN, 'lm_eval_smollm2.json'), 'utf8')) as Record<string, number[][]>;

  test.each(Object.entries(harness))(
    'finds the options of %s as likely as the harness says',
    async (name, expected) => {
      const task = TASKS.find((candidate) => candidate.name === name) as (typeof TASKS)[number];
      const data = sharedPath('data/tasks');
      const { questions } = await loadTask(task, { data, shots: 0, seed: 0, limit: expected.length });
      const encoder = new PairEncoder(model.tokenizer, model.config.maxPositions);
      const groups = questions.map((question) => scoredTexts(question, '').map((text) => encoder.encode(text)));
      const scores = await scoreGroups(coreOf(model), groups, { arithmetic: arithmeticOf({}) });
      expect(scores.map((group) => group.length)).toEqual(expected.map((group) => group.length));
      for (const [i, value] of scores.flat().entries()) {
        const wanted = expected.flat()[i] as number;
        // weights are dequantized to f16 here, to f32 there
        expect(Math.abs(value.logLikelihood - wanted)).toBeLessThan(1e-3 * Math.max(10, -wanted));
      }
    },
  );

  test('reads the whole test split of WikiText-2, without a token before it', async () => {
    const text = readFileSync(sharedPath(TEXT), 'utf8');
    const golden = JSON.parse(readFileSync(sharedPath(VALUES), 'utf8'));
    const { nll_per_window: first } = golden.wikitext2_raw_test.window_512_windows_0_to_15;
    const { perplexity, textTokens } = await evaluatePerplexity(model, text, { window: 512, maxWindows: 2 });
    expect(textTokens).toBe(golden.tokens_in_test_split);
    expect(Math.abs(Math.log(perplexity) / ((first[0] + first[1]) / 2) - 1)).toBeLessThan(1e-3);
  });
});
