/** Makes the embedded model Boolean, finetunes its bits on text of its own and lets it tell a story. */

import { readFile } from 'node:fs/promises';
import { binarize, evaluatePerplexity, finetune, Model } from 'mbok';

const folder = new URL('../assets/tiny-stories', import.meta.url).pathname;
const [data, held] = await Promise.all(
  ['train', 'valid'].map((name) => readFile(`${folder}/corpus/${name}.txt`, 'utf8')),
);

const model = await Model.load(folder);
const small = await binarize(model, { kernels: 2, method: 'calibrated', calibration: { data } });
await finetune(small, { teacher: model, data, steps: 50, onProgress: ({ step, loss }) => console.log(step, loss) });

const { perplexity } = await evaluatePerplexity(small, held, { window: 256 });
console.log(`perplexity of the Boolean model: ${perplexity.toFixed(2)}`);
for await (const text of small.generate('Once upon a time', { maxTokens: 100, temperature: 0.7, seed: 1 })) {
  process.stdout.write(text);
}
await small.save('tiny-stories-boolean');
small.dispose();
model.dispose();
