/**
 * Perplexity of the embedded model after finetuning on TinyStories: a row of docs/quality.md. The other rows take
 * longer.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { Model } from '../../lib/model';
import { finetune } from '../../lib/train/finetune';
import { describeWithShared, sharedPath } from '../helpers/shared';

describeWithShared('tiny-stories finetuned natively for 300 steps of 8 × 256', ['data/tinystories'], () => {
  const text = (name: string) => readFileSync(sharedPath(`data/tinystories/${name}.txt`), 'utf8');

  test('at two kernels it has at most 7.42 on 256 windows of 256', async () => {
    await using teacher = await Model.load(join(__dirname, '../../assets/tiny-stories'));
    const calibration = { data: text('train'), windows: 64, length: 256, targetMix: 0.25, rounds: 1 };
    await using student = await binarize(teacher, { kernels: 2, method: 'calibrated', calibration });
    await finetune(student, {
      teacher,
      data: text('train'),
      steps: 300,
      train: ['scales', 'norms', 'embeddings'],
      hiddenLoss: 'plain',
      precision: 'bf16',
    });
    const { perplexity } = await evaluatePerplexity(student, text('valid'), { window: 256, maxWindows: 256 });
    expect(perplexity).toBeLessThanOrEqual(7.42);
  }, 1_200_000);
});
