/** GGUF metadata that changes a model's numbers: interpreted as in llama.cpp, or refused by name. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Model } from '../../../lib/model';
import type { GatedDecoderConfig } from '../../../lib/models/gated_decoder';
import { ModelSource } from '../../../lib/models/source';
import { temporaryFolder } from '../../helpers/folders';
import { type GgufToWrite, ggufBytes, SMALL_LLAMA } from '../../helpers/gguf_writer';
import { describeWithShared, sharedPath } from '../../helpers/shared';

const temporary = temporaryFolder();
type Entry = NonNullable<GgufToWrite['metadata']>[number];
let files = 0;

/** Creates a LLaMA with heads of two numbers and further metadata; `change` turns it into another architecture. */
function withMetadata(entries: readonly Entry[], change: (file: GgufToWrite) => GgufToWrite = (file) => file): string {
  const path = join(temporary, `${files++}.gguf`);
  const keys = new Set(entries.map(([key]) => key));
  const metadata = [...SMALL_LLAMA.metadata.filter(([key]) => !keys.has(key)), ...entries];
  writeFileSync(path, ggufBytes(change({ ...SMALL_LLAMA, metadata })));
  return path;
}

async function rotary(path: string) {
  await using source = await ModelSource.open(path);
  return (source.config as GatedDecoderConfig).rotaries.rotary;
}

const f32 = (key: string, value: number): Entry => [`llama.${key}`, { f32: value }];
const u32 = (key: string, value: number): Entry => [`llama.${key}`, { u32: value }];
const flag = (key: string, value: boolean): Entry => [`llama.${key}`, { flag: value }];
const text = (key: string, value: string): Entry => [`llama.${key}`, { text: value }];
const floats = (key: string, values: number[]): Entry => [`llama.${key}`, { floats: values }];

const CASES = 'cases/2-gguf-linear-rope-without-type';
describeWithShared('rope scaling without a type is linear', [CASES], () => {
  // made from one checkpoint; llama.cpp gives the same logits for all three
  test.each(['factor_without_type', 'scale_linear'])('%s', async (name) => {
    const ids = Array.from({ length: 40 }, (_, i) => (i * 37) % 160);
    const logits = async (file: string) => {
      await using model = await Model.load(sharedPath(`${CASES}/${file}.gguf`));
      return (await model.logits(ids)).data;
    };
    expect(await logits(name)).toEqual(await logits('linear'));
  });
});

test.each<[string, Entry[], number | undefined]>([
  ['a factor without a type', [f32('rope.scaling.factor', 4)], 4],
  ['the old key', [f32('rope.scale_linear', 4)], 4],
  ['the new key, whatever the old one says', [f32('rope.scaling.factor', 4), f32('rope.scale_linear', 1)], 4],
  ['a type with its factor', [text('rope.scaling.type', 'linear'), f32('rope.scaling.factor', 4)], 4],
  ['a type without a factor', [text('rope.scaling.type', 'linear')], undefined],
  ['a factor of 0', [f32('rope.scaling.factor', 0)], undefined],
  ['a factor of 1', [f32('rope.scale_linear', 1)], undefined],
  ['a factor that the type leaves out', [text('rope.scaling.type', 'none'), f32('rope.scaling.factor', 4)], undefined],
])('linear scaling: %s', async (_, entries, factor) => {
  const plain = await rotary(withMetadata([]));
  const stretch = factor === undefined ? {} : { stretch: [factor] };
  expect(await rotary(withMetadata(entries))).toEqual({ ...plain, ...stretch });
});

describe('metadata that changes nothing is accepted', () => {
  test.each<[string, Entry]>([
    ['the size of a head', u32('rope.dimension_count', 2)],
    ['a scaling that was not finetuned', flag('rope.scaling.finetuned', false)],
    ['the original context', u32('rope.scaling.original_context_length', 4096)],
    ['a factor of 1', f32('rope.scaling.attn_factor', 1)],
    ['bounds of a ramp that is not used', f32('rope.scaling.yarn_beta_fast', 32)],
    ['the usual factor of scores', f32('attention.scale', Math.fround(Math.SQRT1_2))],
    ['a window as long as the context', u32('attention.sliding_window', 16)],
    ['no experts', u32('expert_count', 0)],
    ['causal attention', flag('attention.causal', true)],
    ['scales of 0, which are none', f32('residual_scale', 0)],
    ['a scale of 1', f32('logit_scale', 1)],
    ['clamps of 0 by layer', floats('swiglu_clamp_exp', [0, 0])],
    ['what is no setting of the arithmetic', text('tensor_data_layout', 'Meta AI original pth')],
    ['keys of another architecture', ['qwen2.rope.scaling.factor', { f32: 4 }]],
  ])('%s', async (_, entry) => {
    await using source = await ModelSource.open(withMetadata([entry]));
    await using plain = await ModelSource.open(withMetadata([]));
    expect(source.config).toEqual(plain.config);
  });
});

describe('metadata unknown to an architecture is refused by name', () => {
  test.each<[string, Entry]>([
    ['a part of each head', u32('rope.dimension_count', 1)],
    ['a factor of cosines and sines', f32('rope.scaling.attn_factor', 1.2)],
    ['extrapolation by YaRN', f32('rope.scaling.yarn_ext_factor', 1)],
    ['a factor of YaRN', f32('rope.scaling.yarn_attn_factor', 0.5)],
    ['a logarithm of YaRN', f32('rope.scaling.yarn_log_multiplier', 0.1)],
    ['alpha', f32('rope.scaling.alpha', 1000)],
    ['sections of positions', floats('rope.dimension_sections', [16, 24, 24, 0])],
    ['another base for windows', f32('rope.freq_base_swa', 20000)],
    ['the old factor beside another', f32('rope.scale_linear', 2)],
    ['a key of rope to come', f32('rope.scaling.nobody_knows', 0)],
    ['a factor of scores', f32('attention.scale', 0.0078125)],
    ['a clamp', f32('attention.clamp_kqv', 8)],
    ['biases by distance', f32('attention.max_alibi_bias', 8)],
    ['a window', u32('attention.sliding_window', 8)],
    ['attention to later tokens', flag('attention.causal', false)],
    ['a cap of scores', f32('attn_logit_softcapping', 50)],
    ['a cap of logits', f32('final_logit_softcapping', 30)],
    ['a scale of logits', f32('logit_scale', 0.0625)],
    ['a scale of residuals', f32('residual_scale', 0.22)],
    ['a scale of embeddings', f32('embedding_scale', 12)],
    ['experts', u32('expert_count', 8)],
    ['parallel residuals', flag('use_parallel_residual', true)],
    ['pooling', u32('pooling_type', 1)],
    ['clamps of some layers', floats('swiglu_clamp_exp', [0, 7])],
  ])('%s', async (_, entry) => {
    const besides = entry[0] === 'llama.rope.scale_linear' ? [f32('rope.scaling.factor', 4)] : [];
    const path = withMetadata([entry, ...besides]);
    await expect(ModelSource.open(path)).rejects.toThrow(
      expect.objectContaining({
        code: 'MBOK_UNSUPPORTED',
        message: expect.stringMatching(new RegExp(`metadata '${entry[0]}' is .*, which is not read here`)),
      }),
    );
  });

  test('YaRN', async () => {
    const path = withMetadata([text('rope.scaling.type', 'yarn'), f32('rope.scaling.factor', 4)]);
    await expect(ModelSource.open(path)).rejects.toThrow(/rope_scaling: rope type "yarn" is not supported/);
  });
});

describe('factors in tensors', () => {
  const factors =
    (...names: string[]) =>
    (file: GgufToWrite): GgufToWrite => ({
      ...file,
      tensors: [...(file.tensors ?? []), ...names.map((name) => ({ name, shape: [1] }))],
    });
  test.each<[string, Entry[], string[], RegExp]>([
    [
      'of Llama 3 beside linear scaling',
      [f32('rope.scaling.factor', 4)],
      ['rope_freqs.weight'],
      /'rope_freqs.weight' beside metadata of rope scaling \{"type": "linear", "factor": 4\} is not supported/,
    ],
    ['of LongRoPE for short texts only', [], ['rope_factors_short.weight'], /'rope_factors_short.weight' alone/],
    [
      'of LongRoPE beside linear scaling',
      [f32('rope.scaling.factor', 4)],
      ['rope_factors_short.weight', 'rope_factors_long.weight'],
      /'rope_factors_short.weight' and 'rope_factors_long.weight' beside metadata/,
    ],
  ])('%s', async (_, entries, names, message) => {
    const path = withMetadata(entries, factors(...names));
    await expect(ModelSource.open(path)).rejects.toThrow(
      expect.objectContaining({ code: 'MBOK_UNSUPPORTED', message: expect.stringMatching(message) }),
    );
  });
});
