/** Structures that families declare. Conversion and losses use them and infer nothing from operations. */

import { type TracedLinear, traceBlock } from '../../lib/compress/block_trace';
import { loadedSource } from '../../lib/compress/dense_source';
import { Graph } from '../../lib/graph/graph';
import { coreOf, Model } from '../../lib/model';
import { FAMILIES as REGISTERED } from '../../lib/models/registry';
import { FAMILIES, repositoryFolder, VARIANTS, variantFolder } from '../helpers/family_folders';

/** Layers by name within a block. */
interface Structure {
  /** Layers whose outputs attention mixes into other tokens. */
  readonly mixed: readonly string[];
  /** Layers whose outputs are added to the hidden states, in order, and the norms in between. */
  readonly added: readonly (readonly [module: string, norm?: string])[];
  /** The embeddings, which are a tied head. */
  readonly table: string;
}

const SEPARATE = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'];
const LLAMA: Structure = {
  mixed: SEPARATE,
  added: [['self_attn.o_proj'], ['mlp.down_proj']],
  table: 'model.embed_tokens',
};
const GEMMA: Structure = {
  ...LLAMA,
  added: [
    ['self_attn.o_proj', 'post_attention_layernorm'],
    ['mlp.down_proj', 'post_feedforward_layernorm'],
  ],
};
const STRUCTURES: Readonly<Record<string, Structure>> = {
  llama: LLAMA,
  smollm3: LLAMA,
  mistral: LLAMA,
  qwen2: LLAMA,
  qwen3: LLAMA,
  gemma2: GEMMA,
  gemma3: GEMMA,
  phi3: { ...LLAMA, mixed: ['self_attn.qkv_proj'] },
  opt: {
    mixed: SEPARATE,
    added: [['self_attn.out_proj'], ['fc2']],
    table: 'model.decoder.embed_tokens',
  },
  gpt2: { mixed: ['attn.c_attn'], added: [['attn.c_proj'], ['mlp.c_proj']], table: 'transformer.wte' },
};

test('every family is in the table', () => {
  expect(Object.keys(STRUCTURES).sort()).toEqual(REGISTERED.map(({ name }) => name).sort());
});

const FOLDERS = [
  ...FAMILIES.flatMap((family) => {
    const folder = repositoryFolder(family);
    return folder === undefined ? [] : [[family, folder] as const];
  }),
  ...VARIANTS.map((variant) => [variant, variantFolder(variant)] as const),
];

describe.each(FOLDERS)('%s', (_, folder) => {
  let model: Model;
  let structure: Structure;
  beforeAll(async () => {
    model = await Model.load(folder);
    structure = STRUCTURES[coreOf(model).family.name] as Structure;
  });
  afterAll(() => model.dispose());

  test('declares two additions to the hidden states in each block', () => {
    const { config } = model;
    const graph = new Graph();
    const builder = coreOf(model).builder(graph);
    const ids = graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
    const { hiddenStates } = coreOf(model).build(builder, ids, 8);
    expect(builder.residuals).toHaveLength(2 * config.layers);
    const modules = new Map(builder.linears.map(({ module, output }) => [output, module]));
    builder.residuals.forEach(({ branch, norm }, i) => {
      const [module, between] = structure.added[i % 2] as Structure['added'][number];
      const path = modules.get(branch)?.slice(0, -module.length);
      expect(modules.get(branch)).toBe(`${path}${module}`);
      expect(path).toContain(`.${Math.floor(i / 2)}.`);
      expect(norm?.weight).toBe(between && builder.parameter(`${path}${between}.weight`));
    });
    expect(builder.residuals[0]?.x).toBe(hiddenStates[0]);
  });

  test('declares for every linear layer its residual and whether attention mixes it', () => {
    const x = new Graph().input('x', { rows: 'tokens', cols: model.config.hiddenSize });
    const { linears } = traceBlock(
      { source: loadedSource(coreOf(model)), length: 8 },
      0,
      { parameters: coreOf(model).parameters, formats: model.formats },
      x,
    );
    const names = (which: (place: TracedLinear) => boolean) =>
      [...linears.values()].filter(which).map(({ module }) => module.replace(/^.*?\.0\./, ''));
    expect(names(({ mixed }) => mixed)).toEqual(structure.mixed);
    expect(names(({ residual }) => residual !== undefined)).toEqual(structure.added.map(([module]) => module));
    // the first addition of a block adds to the block's input
    const first = [...linears.values()].find(({ residual }) => residual !== undefined);
    expect(first?.residual?.x).toBe(x);
    expect(names(({ hidden }) => hidden === x)).toEqual(structure.mixed);
  });

  test('declares one head, of the finished hidden states', () => {
    const { family, config } = coreOf(model);
    const graph = new Graph();
    const builder = coreOf(model).builder(graph);
    const x = graph.input('x', { rows: 'tokens', cols: config.hiddenSize });
    const { states, table, cap } = family.head(builder, x, config);
    expect(states).toBe(x);
    expect(table).toEqual({ weights: builder.parameter(`${config.tied ? structure.table : 'lm_head'}.weight`) });
    expect(cap).toBe(coreOf(model).json.final_logit_softcapping ?? 0);
    expect(graph.nodes).toEqual([]);
  });
});
