/** A real GGUF file, SmolLM2-135M-Instruct in Q4_1, against transformers on the same weights dequantized to f32. */

import { readFileSync } from 'node:fs';
import { evaluatePerplexity } from '../../../lib/eval/perplexity';
import { coreOf, Model } from '../../../lib/model';
import { readGolden } from '../../helpers/golden';
import { describeWithShared, sharedPath } from '../../helpers/shared';

const FILE = 'models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf';
const GOLDEN = 'golden/smollm2-135m-instruct';

interface Golden {
  readonly prompts: readonly {
    readonly prompt: string;
    readonly input_ids: number[];
    readonly greedy_ids: number[];
    readonly greedy_text: string;
  }[];
  readonly wikitext2_raw_test: Readonly<Record<string, { readonly nll_per_window: number[] }>>;
}

describeWithShared('SmolLM2 from its GGUF file', [FILE, GOLDEN], () => {
  const golden = (): Golden => JSON.parse(readFileSync(sharedPath(`${GOLDEN}/golden.json`), 'utf8')) as Golden;
  let model: Model;

  beforeAll(async () => {
    model = await Model.load(sharedPath(FILE));
  }, 60_000);
  afterAll(() => model.dispose());

  test('is a LLaMA with the settings of its config.json', () => {
    expect(coreOf(model).json).toEqual({
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      hidden_act: 'silu',
      vocab_size: 49152,
      hidden_size: 576,
      intermediate_size: 1536,
      num_hidden_layers: 30,
      num_attention_heads: 9,
      num_key_value_heads: 3,
      head_dim: 64,
      max_position_embeddings: 8192,
      rms_norm_eps: 1e-5,
      rope_theta: 100000,
      tie_word_embeddings: true,
      attention_bias: false,
      mlp_bias: false,
      bos_token_id: 1,
      eos_token_id: [2, 0],
    });
  });

  test('has the golden logits to 1e-3 of their range', async () => {
    const tensors = readGolden(sharedPath(`${GOLDEN}/golden.safetensors`));
    for (const [i, { prompt, input_ids: ids }] of golden().prompts.entries()) {
      expect([...model.tokenizer.encode(prompt)]).toEqual(ids);
      const { data, shape } = await model.logits(Int32Array.from(ids));
      const expected = tensors(`logits.${i}`).data;
      const last = data.subarray(data.length - (shape[1] as number));
      const range = Math.max(...expected) - Math.min(...expected);
      const worst = expected.reduce((most, value, j) => Math.max(most, Math.abs(value - (last[j] as number))), 0);
      expect({ prompt, close: worst <= 1e-3 * range }).toEqual({ prompt, close: true });
    }
  }, 60_000);

  test('has the golden greedy continuations', async () => {
    for (const { prompt, input_ids: ids, greedy_ids: greedy, greedy_text: expected } of golden().prompts) {
      const generation = model.generate(ids, { maxTokens: greedy.length, temperature: 0 });
      let text = '';
      for await (const piece of generation) text += piece;
      expect({ prompt, text }).toEqual({ prompt, text: expected.replace('<|im_end|>', '') });
    }
  }, 120_000);

  test.each([
    [512, 16],
    [2048, 2],
  ])(
    'the negative log-likelihood of windows of %i tokens, to 0.1 %',
    async (window, count) => {
      const last = window === 512 ? 15 : 7;
      const file = readFileSync(sharedPath(`${GOLDEN}/window_${window}_0_${last}.u16`));
      const ids = Int32Array.from({ length: file.length / 2 }, (_, i) => file.readUInt16LE(2 * i));
      const { nll_per_window: expected } = golden().wikitext2_raw_test[`window_${window}_windows_0_to_${last}`] as {
        nll_per_window: number[];
      };
      for (let i = 0; i < count; i++) {
        const { perplexity } = await evaluatePerplexity(model, ids.subarray(i * window, (i + 1) * window), { window });
        const error = Math.abs(Math.log(perplexity) / (expected[i] as number) - 1);
        expect({ window: i, close: error <= 1e-3 }).toEqual({ window: i, close: true });
      }
    },
    300_000,
  );
});
