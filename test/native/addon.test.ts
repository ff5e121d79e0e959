/**
 * The boundary of the native add-on, called as `lib/` never would. Any JavaScript value gives an error with a code or
 * is harmless, and never accesses foreign memory.
 */

import {
  addon,
  type NativeAddon,
  type NativeOperation,
  type NativeTensor,
  SCALARS,
  TENSOR_TYPES,
} from '../../lib/native/addon';

const { NativeBuffer, NativePlan } = addon();
const BYTES = 4096;
const buffer = new NativeBuffer(BYTES);

const tensor = (fields: object = {}): NativeTensor => ({ buffer, offset: 0, rows: 1, cols: 4, type: 0, ...fields });
const operation = (fields: object = {}): NativeOperation => ({
  name: 'add',
  inputs: [0, 0],
  outputs: [0],
  attributes: [],
  phase: 0,
  ...fields,
});
const description = (fields: object = {}) => ({
  arenaBytes: 0,
  maxRows: 1,
  tensors: [tensor()],
  operations: [operation()],
  ...fields,
});
const planOf = (fields: object = {}) => new NativePlan(description(fields));
const withTensor = (fields: object) => () => planOf({ tensors: [tensor(fields)] });
const withOperation = (fields: object) => () => planOf({ operations: [operation(fields)] });
const scalars = (fields: Partial<Record<(typeof SCALARS)[number], number>> = {}) =>
  Float64Array.from(SCALARS, (name) => fields[name] ?? (name === 'rows' || name === 'sequenceLength' ? 1 : 0));

/** Creates an array that grows when its first element is read. */
function growing(): number[] {
  const array: number[] = [];
  Object.defineProperty(array, 0, {
    get: () => {
      for (let i = 1; i < 100_000; i++) array[i] = 0;
      return 0;
    },
  });
  return array;
}

const INVALID = 'MBOK_INVALID_ARGUMENT';
const SHAPE = 'MBOK_SHAPE';

const PLANS: readonly [string, string, () => unknown][] = [
  ['no description', INVALID, () => new NativePlan(undefined as never)],
  ['tensors that are no array', INVALID, () => planOf({ tensors: { length: 1 } })],
  ['a tensor that is no object', INVALID, () => planOf({ tensors: [1] })],
  ['more arena than there is', 'MBOK_OUT_OF_MEMORY', () => planOf({ arenaBytes: Number.MAX_SAFE_INTEGER })],
  ['no rows', INVALID, () => planOf({ maxRows: 0 })],
  ['a type that does not exist', INVALID, withTensor({ type: Math.max(...Object.values(TENSOR_TYPES)) + 1 })],
  ['a type beyond 32 bits', INVALID, withTensor({ type: 2 ** 32 })],
  ['a tensor without rows', INVALID, withTensor({ rows: 0 })],
  ['negative rows', INVALID, withTensor({ rows: -2 })],
  ['half a column', INVALID, withTensor({ cols: 0.5 })],
  ['dimensions whose product overflows', INVALID, withTensor({ rows: 2 ** 31, cols: 2 ** 31 })],
  [
    'open rows whose product overflows',
    INVALID,
    () => planOf({ maxRows: 2 ** 31, tensors: [tensor({ rows: -1, cols: 2 ** 31 })] }),
  ],
  ['an offset that is not aligned', INVALID, withTensor({ offset: 4 })],
  ['an offset beyond the buffer', INVALID, withTensor({ offset: 2 ** 53 - 64 })],
  ['a tensor that reaches beyond its buffer', INVALID, withTensor({ offset: BYTES - 64, cols: 17 })],
  ['a tensor beyond the arena', INVALID, withTensor({ buffer: null })],
  ['a buffer that is none', INVALID, withTensor({ buffer: {} })],
  ['a buffer by prototype only', INVALID, withTensor({ buffer: Object.create(NativeBuffer.prototype) })],
  ['a proxy of a buffer', INVALID, withTensor({ buffer: new Proxy(buffer, {}) })],
  [
    'a plan disguised as a buffer',
    INVALID,
    withTensor({ buffer: Object.setPrototypeOf(planOf(), NativeBuffer.prototype) }),
  ],
  ['an unknown operation', INVALID, withOperation({ name: 'subtract' })],
  ['a name that is no string', INVALID, withOperation({ name: Symbol('add') })],
  ['a tensor that the plan lacks', INVALID, withOperation({ inputs: [0, 1] })],
  ['an index beyond 32 bits', INVALID, withOperation({ inputs: [0, 2 ** 32] })],
  ['an index below −1', INVALID, withOperation({ outputs: [-2] })],
  ['a required tensor left out', SHAPE, withOperation({ inputs: [0, -1] })],
  ['a list longer than memory', INVALID, withOperation({ inputs: new Array(2 ** 32 - 1) })],
  ['a list that grows while it is read', SHAPE, withOperation({ inputs: growing() })],
  ['an unknown phase', INVALID, withOperation({ phase: 3 })],
  ['too few attributes', SHAPE, withOperation({ name: 'scale', inputs: [0] })],
  ['an attribute that is no number', INVALID, withOperation({ name: 'scale', inputs: [0], attributes: ['1'] })],
  ['NaN as a head dimension', SHAPE, withOperation({ name: 'rope', attributes: [Number.NaN, 1] })],
  ['a kind beyond 64 bits', SHAPE, withOperation({ name: 'activation', inputs: [0], attributes: [1e300] })],
  ['a precision that does not exist', SHAPE, withOperation({ name: 'linear_gradient_weight', attributes: [3] })],
  [
    'fixed rows that equal the open ones at their most only',
    SHAPE,
    () =>
      planOf({
        maxRows: 4,
        tensors: [tensor({ rows: 4 }), tensor({ rows: -1 })],
        operations: [operation({ inputs: [0, 1] })],
      }),
  ],
];

test.each(PLANS)('a plan refuses %s', (_, code, make) => {
  expect(make).toThrow(expect.objectContaining({ code }));
});

test('an error thrown by a getter of the description is passed on unchanged', () => {
  const thrown = new Error('from the getter');
  const hostile = {
    get tensors() {
      throw thrown;
    },
  };
  expect(
    () => new NativePlan(Object.defineProperties(description(), Object.getOwnPropertyDescriptors(hostile))),
  ).toThrow(thrown);
});

test.each([
  ['rows beyond the plan', { rows: 2 }],
  ['rows that are NaN', { rows: Number.NaN }],
  ['a sequence length of 0', { sequenceLength: 0 }],
  ['a negative position', { position: -1 }],
  ['a position beyond every table', { position: 2 ** 53 }],
] as const)('a run refuses %s', async (_, fields) => {
  await expect(planOf().run(scalars(fields))).rejects.toMatchObject({ code: INVALID });
});

test.each([
  ['nothing', undefined],
  ['too few', new Float64Array(9)],
  ['the wrong type', new Float32Array(10)],
])('a run refuses scalars: %s', (_, value) => {
  expect(() => planOf().run(value as never)).toThrow(expect.objectContaining({ code: INVALID }));
});

test.each([
  ['a DataView', new DataView(new ArrayBuffer(8)), 0],
  ['an ArrayBuffer', new ArrayBuffer(8), 0],
  ['an array', [1], 0],
  ['a view larger than the buffer', new Uint8Array(BYTES + 1), 0],
  ['a view beyond the end', new Uint8Array(1), BYTES],
  ['a negative offset', new Uint8Array(1), -1],
  ['an offset that is NaN', new Uint8Array(1), Number.NaN],
  ['an offset beyond all integers', new Uint8Array(1), 2 ** 53],
  ['an offset as text', new Uint8Array(1), '0'],
])('a buffer refuses to copy %s', (_, view, offset) => {
  for (const copy of ['write', 'read'] as const)
    expect(() => buffer[copy](view as never, offset as never)).toThrow(expect.objectContaining({ code: INVALID }));
});

test.each([-1, 0.5, 2 ** 53, '8', undefined])('no buffer has %p bytes', (bytes) => {
  expect(() => new NativeBuffer(bytes as never)).toThrow(expect.objectContaining({ code: INVALID }));
});

test('views of shared memory are copied, detached and empty ones are empty', () => {
  const shared = new Uint8Array(new SharedArrayBuffer(16), 8, 4).fill(7);
  buffer.write(shared, 0);
  const back = new Uint8Array(new SharedArrayBuffer(16), 4, 4);
  buffer.read(back, 0);
  expect([...back]).toEqual([7, 7, 7, 7]);

  const detached = new Uint8Array(16);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  buffer.write(detached, BYTES);
  buffer.read(new Float64Array(0), BYTES);
  expect(detached.length).toBe(0);
});

test('ids that share memory with their output index nothing else', async () => {
  const memory = new NativeBuffer(BYTES);
  const ids = { buffer: memory, offset: 0, rows: 64, cols: 1, type: TENSOR_TYPES.i32 };
  const table = { buffer: memory, offset: 1024, rows: 2, cols: 8, type: TENSOR_TYPES.f32 };
  const rows = { buffer: memory, offset: 0, rows: 64, cols: 8, type: TENSOR_TYPES.f32 };
  memory.write(new Float32Array(16).fill(-1e30), 1024);
  const operations = [operation({ name: 'embedding', inputs: [1, 0], outputs: [2] })];
  const plan = new NativePlan({ arenaBytes: 0, maxRows: 1, tensors: [ids, table, rows], operations });
  await expect(plan.run(scalars())).resolves.toBe(true);
});

const floats = (count: number) => new Float32Array(count);

test.each([
  ['logits that are no Float32Array', [new Float64Array(4), 4, 1, floats(1), floats(1)]],
  ['a run of nothing', [floats(4), 0, 1, floats(1), floats(1)]],
  ['a factor that is NaN', [floats(4), 4, Number.NaN, floats(1), floats(1)]],
  ['a factor beyond 32 bits', [floats(4), 4, 1e39, floats(1), floats(1)]],
  ['largest logits in 64 bits', [floats(4), 4, 1, new Float64Array(1), floats(1)]],
  ['a run without a weight', [floats(5), 4, 1, floats(2), floats(1)]],
  ['a largest logit without a run', [floats(4), 2 ** 53 - 1, 1, floats(2), floats(1)]],
])('weigh refuses %s', (_, values) => {
  const call = () => addon().weigh(...(values as unknown as Parameters<NativeAddon['weigh']>));
  expect(call).toThrow(expect.objectContaining({ code: INVALID }));
});

test('a detached array is not weighed', () => {
  const logits = floats(300);
  structuredClone(logits.buffer, { transfer: [logits.buffer] });
  expect(() => addon().weigh(logits, 256, 1, floats(2), floats(2))).toThrow(expect.objectContaining({ code: INVALID }));
  addon().weigh(logits, 256, 1, floats(0), floats(0));
});
