/**
 * The many forms in which a model is published. Each loads to the same numbers, which families.test.ts compares with
 * transformers. Stand-ins for files are named in errors.
 */

import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCall } from '../../lib/cli/command';
import { inspectCommand } from '../../lib/cli/inspect';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { f16ToF32, f32ToF16 } from '../../lib/io/half';
import { Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import { ModelSource } from '../../lib/models/source';
import { changeConfig, changeWeights, copyGolden, GOLDEN, temporaryFolder } from '../helpers/folders';
import { ggufBytes, SMALL_LLAMA } from '../helpers/gguf_writer';
import { readGolden } from '../helpers/golden';

const temporary = temporaryFolder();
const ids = Int32Array.from({ length: 24 }, (_, i) => (i * 37) % 160);
let folders = 0;

function newFolder(): string {
  const path = join(temporary, String(folders++));
  mkdirSync(path);
  return path;
}

/** Copies a golden family with a change. */
function variant(change: (folder: string) => void, family = 'llama'): string {
  const folder = copyGolden(family, newFolder());
  change(folder);
  return folder;
}

async function logits(path: string): Promise<Float32Array> {
  await using model = await Model.load(path);
  return (await model.logits(ids)).data;
}

const failure = (code: string, message: RegExp) =>
  expect.objectContaining({ name: 'MbokError', code, message: expect.stringMatching(message) });

/** Adds a tensor of zeros. */
function addTensor(folder: string, name: string, shape: number[], dtype = 'F32', bytes = 0): void {
  changeWeights(folder, ({ header, data }) => {
    const length = bytes || shape.reduce((product, size) => product * size, 4);
    const entry = { dtype, shape, data_offsets: [data.length, data.length + length] as [number, number] };
    return { header: { ...header, [name]: entry }, data: Buffer.concat([data, Buffer.alloc(length)]) };
  });
}

describe('a GGUF file is recognized by its first bytes', () => {
  test.each(['model.gguf', 'model.GGUF', 'sha256-0123abcd', 'blob'])('%s', async (name) => {
    const path = join(newFolder(), name);
    cpSync(join(GOLDEN, 'gguf/llama.gguf'), path);
    expect(await logits(path)).toEqual(await logits(join(GOLDEN, 'gguf/llama.gguf')));
    expect((await inspect(path)).family).toBe('llama');
  });

  test('another file is not mistaken for one', async () => {
    const path = join(GOLDEN, 'llama/model.safetensors');
    await expect(ModelSource.open(path)).rejects.toThrow(
      failure('MBOK_FORMAT', /model\.safetensors' .* does not begin with GGUF; a model of another format is a folder/),
    );
  });

  test('a missing one is named by its path', async () => {
    const path = join(newFolder(), 'missing.GGUF');
    await expect(ModelSource.open(path)).rejects.toThrow(failure('MBOK_IO', /missing\.GGUF': no such file/));
  });
});

describe('unread entries do not matter', () => {
  test.each<[string, (folder: string) => void]>([
    ['a tensor of F8_E8M0', (at) => addTensor(at, 'x', [4], 'F8_E8M0', 4)],
    ['a tensor of F4', (at) => addTensor(at, 'x', [8], 'F4', 4)],
    ['a tensor of F6_E2M3', (at) => addTensor(at, 'x', [8], 'F6_E2M3', 6)],
    ['a tensor of C64', (at) => addTensor(at, 'x', [1], 'C64', 8)],
    ['a tensor of F8_E5M2FNUZ', (at) => addTensor(at, 'x', [3], 'F8_E5M2FNUZ', 3)],
    [
      'metadata that is null',
      (at) => changeWeights(at, ({ header, data }) => ({ header: { ...header, __metadata__: null as never }, data })),
    ],
    [
      'NaN and infinite numbers in the configuration',
      (at) =>
        writeFileSync(
          join(at, 'config.json'),
          readFileSync(join(at, 'config.json'), 'utf8')
            .replace('"attention_dropout": 0.0', '"attention_dropout": NaN')
            .replace('"initializer_range": 0.02', '"initializer_range": -Infinity, "text": "NaN, \\"Infinity"'),
        ),
    ],
    [
      'an entry of the index for a tensor that its file lacks',
      (at) => {
        const names = tensorNames(at);
        renameSync(join(at, 'model.safetensors'), join(at, 'a.safetensors'));
        const places = Object.fromEntries([...names, 'gone.weight'].map((name) => [name, 'a.safetensors']));
        writeFileSync(join(at, 'model.safetensors.index.json'), JSON.stringify({ weight_map: places }));
      },
    ],
  ])('%s', async (_, change) => {
    await warnings(async () => {
      expect(await logits(variant(change))).toEqual(await logits(join(GOLDEN, 'llama')));
    });
  });

  test('a tensor that is read must have a supported type', async () => {
    const at = variant((folder) =>
      changeWeights(folder, ({ header, data }) => {
        const norm = { ...header['model.norm.weight'], dtype: 'F8_E8M0', shape: [256] } as (typeof header)[string];
        return { header: { ...header, 'model.norm.weight': norm }, data };
      }),
    );
    await expect(Model.load(at)).rejects.toThrow(failure('MBOK_SHAPE', /'model\.norm\.weight'.*F8_E8M0/));
  });

  test.each(['NaN', 'Infinity', '-Infinity'])('%s in a field that is read is refused by name', async (number) => {
    const at = variant((folder) => {
      const path = join(folder, 'config.json');
      writeFileSync(path, readFileSync(path, 'utf8').replace(/"rms_norm_eps": [^,]+/, `"rms_norm_eps": ${number}`));
    });
    const message = new RegExp(`'rms_norm_eps' must be a positive number, got ${number}`);
    await expect(Model.load(at)).rejects.toThrow(failure('MBOK_FORMAT', message));
  });

  test('numbers that JSON lacks are omitted when saving', async () => {
    const at = variant((folder) => {
      const path = join(folder, 'config.json');
      writeFileSync(path, readFileSync(path, 'utf8').replace('"attention_dropout": 0.0', '"attention_dropout": NaN'));
    });
    await using model = await Model.load(at);
    const copy = join(temporary, 'saved');
    await model.save(copy);
    const saved = JSON.parse(readFileSync(join(copy, 'config.json'), 'utf8'));
    expect(saved).not.toHaveProperty('attention_dropout');
    expect(saved.hidden_size).toBe(64);
  });
});

/** Renames tensors. */
function renameTensors(folder: string, nameOf: (name: string) => string): void {
  const renamed = (name: string) => (name === '__metadata__' ? name : nameOf(name));
  changeWeights(folder, ({ header, data }) => ({
    header: Object.fromEntries(Object.entries(header).map(([name, entry]) => [renamed(name), entry])),
    data,
  }));
}

describe('tensors with another prefix are recognized', () => {
  const inner = (name: string) => name.replace(/^model\./, '');
  test.each<[string, string, (name: string) => string]>([
    ['LLaMA without model.', 'llama', inner],
    ['LLaMA behind language_model.', 'llama', (name) => `language_model.${name}`],
    ['LLaMA behind model.language_model.', 'llama', (name) => name.replace(/^model\./, 'model.language_model.')],
    ['tied LLaMA behind language_model. alone', 'llama-tied-rope3', (name) => `language_model.${inner(name)}`],
    ['LLaMA behind both', 'llama', (name) => `model.language_model.${name}`],
    ['OPT without model.', 'opt', inner],
    ['GPT-2 without transformer.', 'gpt2', (name) => name.replace(/^transformer\./, '')],
  ])('%s', async (_, family, nameOf) => {
    const at = variant((folder) => renameTensors(folder, nameOf), family);
    expect(tensorNames(at)).not.toEqual(tensorNames(join(GOLDEN, family)));
    expect(await logits(at)).toEqual(await logits(join(GOLDEN, family)));
    const { parts, layers } = await inspect(at);
    const plain = await inspect(join(GOLDEN, family));
    expect({ ...parts, other: 0 }).toEqual({ ...plain.parts, other: 0 });
    expect(layers).toEqual(plain.layers);
  });
});

describe('the family of a configuration', () => {
  const MODEL_TYPES = {
    llama: 'llama',
    smollm3: 'smollm3',
    'mistral-sliding': 'mistral',
    qwen2: 'qwen2',
    'qwen3-tied': 'qwen3',
    gemma2: 'gemma2',
    gemma3: 'gemma3_text',
    phi3: 'phi3',
    opt: 'opt',
    gpt2: 'gpt2',
  };
  test.each(Object.entries(MODEL_TYPES))('%s by its model_type alone', async (family, model_type) => {
    for (const architectures of [undefined, null, []]) {
      const at = variant((folder) => changeConfig(folder, { architectures, model_type }), family);
      await using source = await ModelSource.open(at);
      await using plain = await ModelSource.open(join(GOLDEN, family));
      expect(source.config).toEqual(plain.config);
      expect(source.family).toBe(plain.family);
    }
  });

  test('a model saved without its head is complete if the head is the embedding', async () => {
    const at = variant((folder) => {
      changeConfig(folder, { architectures: ['LlamaModel'] });
      renameTensors(folder, (name) => name.replace(/^model\./, ''));
    }, 'llama-tied-rope3');
    expect(await logits(at)).toEqual(await logits(join(GOLDEN, 'llama-tied-rope3')));
    const untied = variant((folder) => {
      changeConfig(folder, { architectures: ['LlamaModel'] });
      renameTensors(folder, (name) => (name === 'lm_head.weight' ? 'other.weight' : name));
    });
    await expect(ModelSource.open(untied)).rejects.toThrow(failure('MBOK_SHAPE', /'lm_head\.weight' is missing/));
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['no name at all', { architectures: undefined, model_type: undefined }, /architecture undefined is not supported/],
    ['an unknown type', { architectures: undefined, model_type: 'mamba' }, /model type "mamba" is not supported/],
    ['another head', { architectures: ['LlamaForSequenceClassification'] }, /"LlamaForSequenceClassification"/],
    ['two families', { model_type: 'qwen2' }, /says "LlamaForCausalLM", but 'model_type' says "qwen2"/],
  ])('%s is refused', async (_, changes, message) => {
    const at = variant((folder) => changeConfig(folder, changes));
    await expect(ModelSource.open(at)).rejects.toThrow(failure('MBOK_UNSUPPORTED', message));
  });
});

test.each([
  ['llama-linear', 4],
  ['gemma3-linear', 8],
])('%s: rope_scaling beside rope_parameters is applied', async (name, factor) => {
  const place = join(GOLDEN, 'variants', name);
  const { rope_parameters: given } = JSON.parse(readFileSync(join(place, 'config.json'), 'utf8'));
  const plain = ({ rope_theta }: { rope_theta: number }) => ({ rope_theta, rope_type: 'default' });
  const at = variant((folder) => {
    changeConfig(folder, {
      rope_parameters: given.full_attention ? { ...given, full_attention: plain(given.full_attention) } : plain(given),
      rope_scaling: { rope_type: 'linear', factor },
    });
  }, `variants/${name}`);
  expect(await logits(at)).toEqual(await logits(place));
});

describe('unread tensors', () => {
  test.each<[string, string, string]>([
    ['a bias of a layer without', 'llama', 'model.layers.0.self_attn.q_proj.bias'],
    ['norms of heads in a family without', 'llama', 'model.layers.1.self_attn.q_norm.weight'],
    ['a norm that others have', 'llama', 'model.layers.0.post_feedforward_layernorm.weight'],
    ['scales of another quantization', 'llama', 'model.layers.0.mlp.up_proj.weight_scale'],
    ['an adapter', 'llama', 'model.layers.0.mlp.up_proj.lora_A.weight'],
    ['a bias of a norm', 'llama', 'model.norm.bias'],
    ['a bias of the head', 'llama', 'lm_head.bias'],
    ['a bias of a head that is the embedding', 'llama-tied-rope3', 'lm_head.bias'],
    ['a bias of attention in GPT-2', 'gpt2', 'transformer.h.0.attn.c_attn.scale'],
    ['a norm within a block of OPT', 'opt', 'model.decoder.layers.1.norm.weight'],
  ])('are refused by name within the model: %s', async (_, family, name) => {
    const at = variant((folder) => addTensor(folder, name, [4]), family);
    const message = new RegExp(`tensor '${name}' is of a module that this architecture has, but nothing reads it`);
    await expect(ModelSource.open(at)).rejects.toThrow(failure('MBOK_UNSUPPORTED', message));
    await expect(inspect(at)).rejects.toThrow(failure('MBOK_UNSUPPORTED', message));
  });

  test('are refused in a GGUF file too', async () => {
    const tensors = [...SMALL_LLAMA.tensors, { name: 'blk.0.attn_output.bias', shape: [4] }];
    const path = join(newFolder(), 'x.gguf');
    writeFileSync(path, ggufBytes({ ...SMALL_LLAMA, tensors }));
    await expect(ModelSource.open(path)).rejects.toThrow(
      failure('MBOK_UNSUPPORTED', /'.*o_proj\.bias' is of a module/),
    );
  });

  test.each<[string, string, string]>([
    ['frequencies of a layer', 'llama', 'model.layers.0.self_attn.rotary_emb.inv_freq'],
    ['frequencies of the model', 'llama', 'model.rotary_emb.inv_freq'],
    ['masks of attention', 'gpt2', 'transformer.h.0.attn.bias'],
    ['numbers that masks are filled with', 'gpt2', 'transformer.h.1.attn.masked_bias'],
    ['ids of positions', 'opt', 'model.decoder.position_ids'],
  ])('do not matter where they are computed: %s', async (_, family, name) => {
    const at = variant((folder) => addTensor(folder, name, [1, 1, 2, 2]), family);
    const warned = await warnings(async () => {
      expect(await logits(at)).toEqual(await logits(join(GOLDEN, family)));
    });
    expect(warned).toEqual([]);
    expect((await inspect(at)).unread).toEqual([]);
  });

  test('are reported in one warning if they form separate modules', async () => {
    const at = variant((folder) => {
      addTensor(folder, 'vision_tower.encoder.layers.0.norm.weight', [4]);
      addTensor(folder, 'vision_tower.encoder.layers.1.norm.weight', [4]);
      addTensor(folder, 'model.layers.2.eh_proj.weight', [2, 2]);
      addTensor(folder, 'mtp.norm.weight', [4]);
    });
    const warned = await warnings(async () => {
      expect(await logits(at)).toEqual(await logits(join(GOLDEN, 'llama')));
    });
    expect(warned).toEqual([
      `${join(at, 'model.safetensors')}: not read, since they are no part of the language model: ` +
        '"vision_tower" (2 tensors), "model.layers.2" (1 tensor), "mtp" (1 tensor)',
    ]);
    const unread = [
      { name: 'vision_tower', tensors: 2, bytes: 32 },
      { name: 'model.layers.2', tensors: 1, bytes: 16 },
      { name: 'mtp', tensors: 1, bytes: 16 },
    ];
    expect((await inspect(at)).unread).toEqual(unread);
    const { lines, json } = await inspectCommand.run(parseCall(inspectCommand, [at], new AbortController().signal));
    expect(lines.join('\n')).toMatch(/not read.*"vision_tower" \(2 tensors\)/);
    expect(json).toMatchObject({ unread });
  });
});

describe('a head in the file of a tied model', () => {
  const EMBEDDING = 'model.embed_tokens.weight';
  /** Creates a variant with a head copied from the embedding, which `round` may change first. */
  const withHead = (head: (embedding: Buffer) => Buffer, dtype = 'F32', round = (embedding: Buffer) => embedding) =>
    variant((folder) => {
      changeWeights(folder, ({ header, data }) => {
        const embedding = header[EMBEDDING] as (typeof header)[string];
        const changed = Buffer.from(data);
        round(Buffer.from(data.subarray(...embedding.data_offsets))).copy(changed, embedding.data_offsets[0]);
        const added = head(Buffer.from(changed.subarray(...embedding.data_offsets)));
        const entry = {
          ...embedding,
          dtype,
          data_offsets: [data.length, data.length + added.length] as [number, number],
        };
        return { header: { ...header, 'lm_head.weight': entry }, data: Buffer.concat([changed, added]) };
      });
    }, 'llama-tied-rope3');
  const toF16 = (f32: Buffer) => Buffer.from(f32ToF16(new Float32Array(Uint8Array.from(f32).buffer)).buffer);
  const toF32 = (f16: Buffer) => Buffer.from(f16ToF32(new Uint16Array(Uint8Array.from(f16).buffer)).buffer);

  test('is read in any type if it is the embedding', async () => {
    expect(await logits(withHead((embedding) => embedding))).toEqual(await logits(join(GOLDEN, 'llama-tied-rope3')));
    const rounded = withHead(toF16, 'F16', (embedding) => toF32(toF16(embedding)));
    expect(await logits(rounded)).toHaveLength(24 * 160);
    await expect(Model.load(withHead(toF16, 'F16'))).rejects.toThrow(failure('MBOK_FORMAT', /differs/));
  });

  test('is refused by name if it differs', async () => {
    const at = withHead((head) => {
      head.writeFloatLE(head.readFloatLE(head.length - 4) + 1e-3, head.length - 4);
      return head;
    });
    const refused = failure('MBOK_FORMAT', /'lm_head\.weight' differs from the embedding.*tie_word_embeddings/);
    await expect(Model.load(at)).rejects.toThrow(refused);
    await expect(binarizeFolder(at, join(temporary, 'tied'), { kernels: 1, method: 'svid' })).rejects.toThrow(refused);

    const small = join(temporary, 'small');
    await binarizeFolder(join(GOLDEN, 'llama-tied-rope3'), small, { kernels: 2, method: 'svid' });
    addTensor(small, 'lm_head.weight', [160, 64]);
    await expect(Model.load(small)).rejects.toThrow(refused);
    await expect(Model.load(small, { kernels: 1 })).rejects.toThrow(refused);
  });
});

test('a GGUF file without a word rule gives a warning', async () => {
  const tokens = Array.from({ length: 8 }, (_, i) => String(i));
  const vocabulary = [
    ['tokenizer.ggml.model', { text: 'gpt2' }],
    ['tokenizer.ggml.tokens', { texts: tokens }],
    ['tokenizer.ggml.merges', { texts: [] }],
  ] as const;
  const path = join(newFolder(), 'old.gguf');
  const write = (...more: (readonly [string, { text: string }])[]) =>
    writeFileSync(path, ggufBytes({ ...SMALL_LLAMA, metadata: [...SMALL_LLAMA.metadata, ...vocabulary, ...more] }));
  const load = () => warnings(async () => (await Model.load(path)).dispose());
  write();
  expect(await load()).toEqual([expect.stringMatching(/old\.gguf: the file does not say how .*tokenizer\.ggml\.pre/)]);
  expect((await inspect(path)).notes).toEqual([expect.stringMatching(/tokenizer\.ggml\.pre/)]);
  write(['tokenizer.ggml.pre', { text: 'default' }]);
  expect(await load()).toEqual([]);
});

test.each<[string, Record<string, unknown>, RegExp]>([
  [
    'a width',
    { intermediate_size: 96 },
    /'model\.layers\.0\.mlp\.gate_proj\.weight' must be F32 \[96, 64\].*got F32 \[160, 64\]/,
  ],
  [
    'heads',
    { num_key_value_heads: 4 },
    /'model\.layers\.0\.self_attn\.k_proj\.weight' must be .*\[64, 64\].*got F32 \[32, 64\]/,
  ],
  ['a vocabulary', { vocab_size: 161 }, /'model\.embed_tokens\.weight' must be .*\[161, 64\].*got F32 \[160, 64\]/],
  ['tied embeddings that are missing', { tie_word_embeddings: false }, /tensor 'lm_head\.weight' is missing/],
])('a configuration that the shapes contradict is refused before weights are read: %s', async (_, changes, message) => {
  const family = 'tie_word_embeddings' in changes ? 'llama-tied-rope3' : 'llama';
  const at = variant((folder) => changeConfig(folder, changes), family);
  await expect(inspect(at)).rejects.toThrow(failure('MBOK_SHAPE', message));
  await expect(Model.load(at)).rejects.toThrow(failure('MBOK_SHAPE', message));
});

describe('stand-ins for files are named', () => {
  const LFS = 'version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4000000000\n';
  const HTML = '\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>';
  const files = [
    'model.safetensors',
    'config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'generation_config.json',
    'chat_template.jinja',
  ];
  test.each(files)('%s', async (file) => {
    for (const [content, message] of [
      [LFS, /is a Git LFS pointer.*git lfs pull/],
      [HTML, /is an HTML page/],
    ] as const) {
      const at = variant((folder) => writeFileSync(join(folder, file), content));
      await expect(Model.load(at)).rejects.toThrow(failure('MBOK_FORMAT', message));
      await expect(Model.load(at)).rejects.toThrow(failure('MBOK_FORMAT', new RegExp(file)));
    }
  });

  test('an index and one of its files', async () => {
    const at = variant((folder) => {
      rmSync(join(folder, 'model.safetensors'));
      writeFileSync(join(folder, 'model.safetensors.index.json'), LFS);
    });
    await expect(Model.load(at)).rejects.toThrow(failure('MBOK_FORMAT', /index\.json' is a Git LFS pointer/));
    writeFileSync(join(at, 'model.safetensors.index.json'), '{"weight_map":{"a":"a.safetensors"}}');
    writeFileSync(join(at, 'a.safetensors'), HTML);
    await expect(Model.load(at)).rejects.toThrow(failure('MBOK_FORMAT', /a\.safetensors' is an HTML page/));
  });

  test.each(['model.gguf', 'blob'])('%s', async (name) => {
    const path = join(newFolder(), name);
    writeFileSync(path, LFS);
    await expect(Model.load(path)).rejects.toThrow(failure('MBOK_FORMAT', /is a Git LFS pointer/));
    writeFileSync(path, '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>');
    await expect(Model.load(path)).rejects.toThrow(failure('MBOK_FORMAT', /is an XML document/));
  });
});

/** Collects the process's warnings during `work`. */
async function warnings(work: () => Promise<void>): Promise<string[]> {
  const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  try {
    await work();
    return warned.mock.calls.map(([message]) => String(message));
  } finally {
    warned.mockRestore();
  }
}

function tensorNames(folder: string): readonly string[] {
  return readGolden(join(folder, 'model.safetensors')).names;
}
