import {
  ALLOCATION_METHODS,
  type AllocationMethod,
  type AllocationOptions,
} from '../compress/allocation/allocation_options';
import type { FixedFormat } from '../compress/allocation/keep';
import type { ConversionMethod } from '../compress/binarize';
import { type BinarizeFolderOptions, binarizeFolder } from '../compress/binarize_folder';
import type { EmbeddingChoice } from '../compress/embeddings';
import type { TrainingPrecision } from '../graph/arithmetic';
import { formsOf } from '../models/forms';
import { inspect } from '../models/inspect';
import { isBooleanTable } from '../structures/boolean_table';
import { MAX_KERNELS } from '../structures/kernels';
import { structureOf } from '../structures/registry';
import type { LayerFormat } from '../structures/structure';
import { readBytes } from './bytes';
import { CALIBRATION_OPTIONS, calibrationFiles, calibrationLine, calibrationText } from './calibration_text';
import { type Command, type CommandCall, given, type Outcome, UsageError } from './command';
import { givenStartToken } from './data';
import { modelPath } from './load_model';
import { expectTarget, OUTPUT_OPTIONS } from './output';
import { megabytes, RemainingTime, StatusLine, say } from './terminal';

/** Options that only the calibrated method reads. */
const CALIBRATED_OPTIONS = [...Object.keys(CALIBRATION_OPTIONS), 'target-mix', 'residual-mix'];
const METHODS: readonly ConversionMethod[] = ['svid', 'refit', 'calibrated'];
const mix = { kind: 'number', value: 'A', minimum: 0, maximum: 1, byDefault: '0.5' } as const;

export const binarizeCommand: Command = {
  name: 'binarize',
  summary: 'Convert a dense model to a Boolean one.',
  operands: ['SRC', 'OUT'],
  options: {
    kernels: {
      kind: 'integer',
      value: 'K',
      minimum: 1,
      maximum: MAX_KERNELS,
      help: '±1 matrices per linear layer: bits per weight without scales',
    },
    factors: {
      kind: 'text',
      value: 'B',
      help: 'a product of two ±1 matrices of B bits per weight, scales included, in every linear layer; with --nested B,B,…',
    },
    bits: {
      kind: 'number',
      value: 'B',
      help: 'largest average bits per weight of the linear layers, counting all that is stored for them',
      byDefault: '2',
    },
    size: { kind: 'text', value: 'BYTES', help: 'instead of --bits: largest size of model.safetensors, e.g. 60MB' },
    allocation: {
      kind: 'choice',
      choices: ALLOCATION_METHODS,
      help: 'method that chooses forms for --bits or --size',
      byDefault: 'measured with --calibration, else uniform',
    },
    keep: {
      kind: 'text',
      value: 'NAME=K|int8|dense',
      many: true,
      help: 'K kernels, 8 bits or the dense weight for some layers; NAME as in mbok inspect, * for any characters',
    },
    nested: {
      kind: 'flag',
      help: 'make every smaller number of kernels, or each size of --factors, a model too; requires --calibration',
    },
    method: {
      kind: 'choice',
      choices: METHODS,
      help: 'conversion method',
      byDefault: 'calibrated with --calibration, else refit',
    },
    ...CALIBRATION_OPTIONS,
    'target-mix': { ...mix, help: 'share of earlier errors that layers compensate in their outputs' },
    'residual-mix': { ...mix, help: 'share of the errors of hidden states that layers compensate' },
    rounds: {
      kind: 'integer',
      value: 'R',
      minimum: 1,
      help: 'rounds of the refit, or of calibrated signs and scales',
      byDefault: '10 for refit, 3 for calibrated',
    },
    iterations: {
      kind: 'integer',
      value: 'T',
      minimum: 1,
      maximum: 1000,
      help: 'iterations of the fit of products of ±1 matrices',
      byDefault: '100',
    },
    embeddings: {
      kind: 'text',
      value: 'FORM',
      help: 'unchanged, int8, K, K+F, bits:B or a size for embeddings and head; see above',
      byDefault: 'unchanged; not with --size',
    },
    restart: { kind: 'flag', help: 'discard an unfinished conversion to OUT instead of continuing it' },
    ...OUTPUT_OPTIONS,
  },
  help: `SRC is a Hugging Face folder (config.json, safetensors, tokenizer.json), a GGUF file or a name at the hub (see mbok
pull --help). OUT becomes a folder that every mbok command reads. Weights are read and converted block by block, so memory
holds one block of SRC. Finished blocks are stored in OUT.partial. If an interrupted conversion is started again with the
same options, it continues from there.

Each linear layer W becomes a sum of K matrices of ±1 with a scale per row and column (--kernels K), or a product of two
±1 matrices with three vectors of scales (--factors B). A product can be smaller than one bit per weight, and up to two
bits it is more accurate than kernels of equal size. Its fit takes longer. With --bits or --size every layer gets the
form and the size that suit it: a product, kernels, numbers in 8 bits, or its dense weight. The budget is met to the
byte. Without any of these options it is 2 bits per weight, or 2 kernels with --method svid or --nested.

  measured    minimizes the sum of the errors that layers cause in their block's output, relative to the hidden states;
              they are measured on calibration text before the conversion
  uniform     uses equal forms everywhere, products up to 2.15 bits and kernels above; spreads the remainder
  paper       chooses kernels greedily by importance (PWCCA), residual and size (arXiv 2505.22811, section 5)

Kernels are fitted by one of three methods; products by alternating projections, on calibration text if there is some.

  svid        extracts one kernel after the other, each optimal for the residual; no data, seconds; never chooses products
  refit       then fits all kernels jointly; more accurate from two kernels on; no data
  calibrated  preserves the layers' outputs on calibration text; much the best with little or no finetuning;
              ten thousand tokens like those that the model will see are enough

Norms, biases, embeddings and head stay. In small models embeddings and head are most of the file: --embeddings int8
stores them with 8 bits per number and a scale per row, --embeddings 2 as two kernels, and --embeddings 2+4096 as two
kernels except for the 4096 most frequent tokens of the calibration text, which get 8 bits. With --embeddings bits:2.5
or 9MB kernels and frequent tokens are chosen to fit; with --size and --calibration so that embeddings and layers
share the file well. Numbers in 8 bits cannot be trained.

With --nested any K' below --kernels is a model too, in the same file: other commands read it with --kernels K'. Bits are
shared, and each K' has separate scales. It takes K conversions, and the last is slightly worse than one for K alone.
With --factors 0.5,1,1.5 --nested one file has products of three sizes; --kernels 1 reads the smallest of them.

About one bit per weight needs finetuning (see mbok finetune --help).`,
  examples: [
    'mbok binarize assets/tiny-stories /tmp/small --kernels 2 --method refit',
    'mbok binarize MODEL.gguf OUT --kernels 3 --calibration train.txt --json',
    'mbok binarize MODEL OUT --kernels 2 --calibration self',
    'mbok binarize MODEL OUT --bits 0.8 --calibration train.txt',
    'mbok binarize MODEL OUT --kernels 2 --embeddings 2+4096 --calibration train.txt',
    'mbok binarize MODEL OUT --kernels 4 --nested --calibration train.txt',
    'mbok binarize MODEL OUT --factors 0.5,1,1.5 --nested --calibration train.txt',
    "mbok binarize MODEL OUT --size 60MB --calibration train.txt --keep '*.0.mlp.down_proj=4'",
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const [name, target] = [call.operand(0), call.operand(1)];
  const method = readMethod(call);
  const amount = allocationOptions(call);
  await expectTarget(call, target, [name, ...calibrationFiles(call)]);
  const status = new StatusLine();
  try {
    const source = await modelPath(call, name, status);
    const text = method === 'calibrated' ? await calibrationText(call, source, status) : undefined;
    try {
      const options = { ...amount, ...conversionOptions(call, method, text) };
      const remaining = new RemainingTime();
      const onProgress = ({ done, what }: { done: number; what: string }) =>
        status.bar('convert', done, `${what}${remaining.after(done)}`);
      const { residual, allocation, calibration, embeddingErrors } = await binarizeFolder(source, target, {
        ...options,
        overwrite: call.flag('overwrite'),
        signal: call.signal,
        onProgress,
      });
      status.clear();
      const { bitsPerWeight, bytes, layers, tables } = await inspect(target);
      const forms = layers.map(
        ({ module, kernels, format }) =>
          [module, kernels > 0 ? kernels : structureOf(format).describe(format)] as const,
      );
      return {
        json: {
          ...{ bitsPerWeight, bytes, residual, method },
          ...('kernels' in options && { kernels: options.kernels }),
          ...(allocation && { allocation, layers: Object.fromEntries(forms) }),
          ...(calibration && { calibration }),
          ...(embeddingErrors && { embeddingErrors }),
        },
        lines: [
          `${target}: ${bitsPerWeight.toFixed(3)} bits a weight, ${megabytes(bytes)}, residual ${residual.toFixed(4)}`,
          ...(allocation ? [`forms by ${allocation.method} allocation: ${formsOf(layers)}`] : []),
          ...(calibration ? [calibrationLine(calibration)] : []),
          ...Object.entries(embeddingErrors ?? {}).map(
            ([name, error]) => `${name} ${tableLabel(tables[name])}, residual ${error.toFixed(4)}`,
          ),
        ],
      };
    } finally {
      await text?.close();
    }
  } finally {
    status.clear();
  }
}

function readMethod(call: CommandCall): ConversionMethod {
  const calibrated = call.has('calibration');
  const method = (call.text('method') as ConversionMethod | undefined) ?? (calibrated ? 'calibrated' : 'refit');
  if (method === 'calibrated') {
    if (!calibrated) throw new UsageError('--method calibrated needs --calibration PATH');
    return method;
  }
  if (call.flag('nested')) throw new UsageError('--nested needs --calibration PATH');
  const unread = method === 'svid' ? [...CALIBRATED_OPTIONS, 'rounds'] : CALIBRATED_OPTIONS;
  const unused = unread.filter((name) => call.has(name)).map((name) => `--${name}`);
  if (unused.length > 0) say(`mbok: --method ${method} ignores ${unused.join(', ')}`);
  return method;
}

function conversionOptions(
  call: CommandCall,
  method: ConversionMethod,
  text: Awaited<ReturnType<typeof calibrationText>> | undefined,
): BinarizeFolderOptions {
  const [rounds, iterations] = [call.number('rounds'), call.number('iterations')];
  const [restart, nested] = [call.flag('restart'), call.flag('nested')];
  const embeddings = readEmbeddings(call);
  if (text === undefined) {
    return given({ method, rounds: method === 'svid' ? undefined : rounds, iterations, embeddings, restart });
  }
  const calibration = given({
    data: text.data,
    windows: call.number('calibration-windows') ?? text.windows,
    length: call.number('calibration-window'),
    startToken: givenStartToken(call),
    targetMix: call.number('target-mix'),
    residualMix: call.number('residual-mix'),
    rounds,
    precision: call.text('precision') as TrainingPrecision | undefined,
  });
  return given({ method, calibration, nested, iterations, embeddings, restart });
}

/** Reads the number of kernels, or the budget. Throws UsageError. */
function allocationOptions(call: CommandCall): AllocationOptions {
  const named = ['kernels', 'factors', 'bits', 'size'].filter((name) => call.has(name));
  const factors = readFactors(call);
  const severalSizes = Array.isArray(factors);
  if (call.flag('nested') && (call.has('bits') || call.has('size') || (call.has('factors') && !severalSizes)))
    throw new UsageError('--nested goes with --kernels, or with several sizes of --factors');
  if (severalSizes && !call.flag('nested')) throw new UsageError('several sizes of --factors need --nested');
  if (named.length > 1) throw new UsageError(`--${named.join(' and --')} exclude each other`);
  const size = call.text('size');
  const allocation = call.text('allocation') as AllocationMethod | undefined;
  if (allocation !== undefined && (call.has('kernels') || call.has('factors'))) {
    throw new UsageError('--allocation goes with --bits or --size');
  }
  const keep = call.texts('keep').map(readKept);
  return given({
    kernels: named.length === 0 && call.flag('nested') ? 2 : call.number('kernels'),
    factors,
    bits: call.number('bits'),
    size: size === undefined ? undefined : Math.floor(readBytes('size', size)),
    allocation,
    keep: keep.length === 0 ? undefined : Object.fromEntries(keep),
  });
}

/** Reads the bits of a product, or an ascending list of them. Throws UsageError. */
function readFactors(call: CommandCall): number | readonly number[] | undefined {
  const text = call.text('factors');
  if (text === undefined) return undefined;
  const sizes = text.split(',').map((bits) => (bits.trim() === '' ? Number.NaN : Number(bits)));
  const isList = sizes.every((bits, i) => bits >= 0.05 && bits <= 8 && (i === 0 || bits > (sizes[i - 1] as number)));
  if (!isList || sizes.length > MAX_KERNELS) {
    throw new UsageError(
      `--factors takes a number from 0.05 to 8, or up to ${MAX_KERNELS} of them in ascending order, got '${text}'`,
    );
  }
  return sizes.length === 1 ? sizes[0] : sizes;
}

function readKept(text: string): readonly [string, FixedFormat] {
  const [, name, value] = /^(.+)=(dense|int8|[1-8])$/.exec(text) ?? [];
  if (name !== undefined) return [name, value === 'dense' || value === 'int8' ? value : Number(value)];
  throw new UsageError(`--keep takes NAME=dense, NAME=int8 or NAME=K with K from 1 to ${MAX_KERNELS}, got '${text}'`);
}

/** Reads what embeddings and head become: `unchanged`, `int8`, `K`, `K+F`, `bits:B` or a size. Throws UsageError. */
function readEmbeddings(call: CommandCall): EmbeddingChoice | undefined {
  const text = call.text('embeddings');
  if (text === undefined || text === 'unchanged' || text === 'int8') return text;
  const [, bits] = /^bits:(\d+(?:\.\d+)?)$/.exec(text) ?? [];
  if (bits !== undefined) return { bits: Number(bits) };
  if (/^[\d.]+ *[KMG]i?B$/i.test(text)) return { size: Math.floor(readBytes('embeddings', text)) };
  const [, kernels, frequent] = /^([1-8])(?:\+(\d{1,9}))?$/.exec(text) ?? [];
  if (kernels === undefined) {
    const forms = `unchanged, int8, K, K+F, bits:B or a size such as 9MB, with K from 1 to ${MAX_KERNELS}`;
    throw new UsageError(`--embeddings takes ${forms}, got '${text}'`);
  }
  return frequent === undefined ? Number(kernels) : { kernels: Number(kernels), frequent: Number(frequent) };
}

/** Describes the format of a converted table. */
function tableLabel(format: LayerFormat | undefined): string {
  if (!isBooleanTable(format)) return 'in 8 bits';
  const kernels = `with K = ${format.kernels}`;
  return format.frequent === 0 ? kernels : `${kernels} and ${format.frequent} rows in 8 bits`;
}
