import {
  AdamW,
  add,
  appendGradients,
  attention,
  BitMatrix,
  BooleanOptimizer,
  type BooleanTarget,
  crossEntropy,
  embedding,
  Graph,
  gatedActivation,
  type LoadedTensors,
  layerNorm,
  loadTensors,
  lossSeed,
  Matrix,
  MbokError,
  type MbokErrorCode,
  Plan,
  rmsNorm,
  rope,
  rotaryTable,
  saveTensors,
  softcap,
  type Tensor,
} from 'mbok';
import { expectAssignable, expectError, expectType } from 'tsd';

const graph = new Graph({ precision: 'bf16' });
const ids = graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
expectType<Tensor>(ids);
expectType<number | 'tokens'>(ids.rows);
expectError(ids.binding);
expectError(graph.emit('add', [], []));
expectError(new Graph({ precision: 'f64' }));

const weight = new Matrix({ rows: 8, cols: 8 });
const bits = BitMatrix.fromSigns([1, -1], { rows: 1, cols: 2 });
expectAssignable<Matrix>(bits);
expectType<Int8Array>(bits.toSigns());
expectError(weight.toSigns());
const w = graph.bind(weight);

const x = embedding(w, ids);
expectType<Tensor>(x);
expectType<Tensor>(add(x, x));
expectType<Tensor>(rmsNorm(x, w));
expectType<Tensor>(rmsNorm(x, w, { epsilon: 1e-6, offset: 1 }));
expectType<Tensor>(layerNorm(x, w, undefined, { epsilon: 1e-6 }));
expectType<Tensor>(gatedActivation(x, x, 'silu'));
expectType<Tensor>(softcap(x, 30));
expectType<Tensor>(attention(x, x, x, { headDimension: 4, window: 2 }));
expectType<Matrix>(rotaryTable({ dimension: 4, positions: 8 }));
expectType<Tensor>(rope(x, graph.bind(rotaryTable({ dimension: 4, positions: 8 })), { headDimension: 4 }));
expectError(attention(x, x, x, {}));
expectError(gatedActivation(x, x, 'swish'));
expectError(add(x, weight));

const loss = crossEntropy(x, graph.input('targets', { rows: 'tokens', cols: 1, type: 'i32' }));
const adamw = new AdamW(new Map([['w', weight]]));
const target = new BooleanOptimizer({ rows: 8, cols: 8, rule: 'neighbors' }).target(graph);
expectType<BooleanTarget>(target);
expectError(new BooleanOptimizer({ rows: 8, cols: 8, rule: 'neighbours' }));
const booleans = new Map([[w, target]]);
expectType<(Tensor | undefined)[]>(
  appendGradients(loss, lossSeed(graph), { accumulators: adamw.accumulators(graph), booleans, wanted: [x] }),
);
expectType<Tensor | undefined>(adamw.step(graph));

const plan = new Plan(graph, { maxRows: 4 });
expectType<number>(plan.memory.total);
const run = { inputs: { ids: Int32Array.of(1) }, scalars: { rows: 1, learningRate: 1e-3 } };
expectType<Promise<Record<string, Float32Array>>>(plan.run(run));
expectError(plan.run({ scalars: { speed: 1 } }));

expectType<Promise<void>>(saveTensors('file', new Map([['w', weight]]), { metadata: { width: '8' } }));
expectError(saveTensors('file', { w: weight }));
expectType<Promise<LoadedTensors>>(loadTensors('file'));

const error = new MbokError('MBOK_IO', 'message');
expectType<MbokErrorCode>(error.code);
