/** Writer of a model of MatMulNBits nodes in ONNX's protobuf (onnx.proto3), with only the required messages. */

import { randomFillSync } from 'node:crypto';

/** Type numbers of onnx.proto3. */
const DATA_TYPES = { f32: 1, u8: 2 };
const INTEGER_ATTRIBUTE = 2;
const OPSETS = [
  ['', 17],
  ['com.microsoft', 1],
];
const IR_VERSION = 8;

/**
 * Builds `copies` nodes y<i> = x · W<i>ᵀ of one input x [1, inputs], each with different weights.
 *
 * @returns {{bytes: Uint8Array, first: {packed: Uint8Array, scales: Float32Array}, weightBytes: number}} the file, the
 * weights of the first node, and the bytes of one node's packed weights and scales
 */
export function matMulNBitsModel({ outputs, inputs, bits, block, accuracy, copies }) {
  const blocks = inputs / block;
  const blockBytes = (block * bits) / 8;
  const weights = Array.from({ length: copies }, () => ({
    packed: randomFillSync(new Uint8Array(outputs * blocks * blockBytes)),
    scales: Float32Array.from({ length: outputs * blocks }, () => (0.5 + Math.random()) / Math.sqrt(inputs)),
  }));
  const attributes = { K: inputs, N: outputs, bits, block_size: block, accuracy_level: accuracy };
  const graph = message(
    ...weights.map((_, i) => field(1, matMulNode(i, attributes))),
    field(2, 'layers'),
    ...weights.flatMap(({ packed, scales }, i) => [
      field(5, tensor(`w${i}`, 'u8', [outputs, blocks, blockBytes], packed)),
      field(5, tensor(`s${i}`, 'f32', [outputs * blocks], scales)),
    ]),
    field(11, value('x', [1, inputs])),
    ...weights.map((_, i) => field(12, value(`y${i}`, [1, outputs]))),
  );
  const imports = OPSETS.map(([domain, version]) => field(8, message(field(1, domain), field(2, version))));
  const [first] = weights;
  return {
    bytes: message(field(1, IR_VERSION), field(7, graph), ...imports),
    first,
    weightBytes: first.packed.byteLength + first.scales.byteLength,
  };
}

function matMulNode(i, attributes) {
  const attribute = ([name, number]) => message(field(1, name), field(3, number), field(20, INTEGER_ATTRIBUTE));
  return message(
    ...['x', `w${i}`, `s${i}`].map((name) => field(1, name)),
    field(2, `y${i}`),
    field(4, 'MatMulNBits'),
    ...Object.entries(attributes).map((entry) => field(5, attribute(entry))),
    field(7, 'com.microsoft'),
  );
}

function tensor(name, type, shape, data) {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return message(...shape.map((size) => field(1, size)), field(2, DATA_TYPES[type]), field(8, name), field(9, bytes));
}

function value(name, shape) {
  const dimensions = shape.map((size) => field(1, message(field(1, size))));
  const type = message(field(1, DATA_TYPES.f32), field(2, message(...dimensions)));
  return message(field(1, name), field(2, message(field(1, type))));
}

const message = (...fields) => Buffer.concat(fields);

/** Encodes a field: numbers as varints, everything else as bytes with their length. */
function field(number, content) {
  if (typeof content === 'number') return Buffer.concat([varint(number << 3), varint(content)]);
  const bytes = Buffer.from(content);
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

function varint(value) {
  const bytes = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  bytes.push(value);
  return Buffer.from(bytes);
}
