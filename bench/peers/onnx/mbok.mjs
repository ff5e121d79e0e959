/** One row through a layer of K kernels in mbok, as bench/decode.mjs times it. */

import { multiBooleanLinear, randomMatrix, secondsPerOperation, tiled } from '../../measure.mjs';
import { booleanOperands, emitter } from '../../products.mjs';
import { serve } from '../serve.mjs';

await serve(async ({ outputs, inputs, kernels, precision, bytes }) => {
  const weightBytes = (kernels * outputs * inputs) / 8;
  const copies = Math.ceil(bytes / weightBytes);
  const x = randomMatrix(1, inputs, 1);
  const { bits, sOut, sIn } = booleanOperands(kernels, outputs, inputs);
  const operands = [];
  for (let i = 0; i < copies; i++) operands.push([await tiled(bits, kernels), sOut, sIn]);
  bits.dispose();
  const emit = emitter(precision, (graph, i) =>
    multiBooleanLinear(graph.bind(x), ...operands[i].map((matrix) => graph.bind(matrix))),
  );
  return {
    info: { weightBytes: weightBytes + sOut.byteLength + sIn.byteLength },
    measure: async () => ({ seconds: await secondsPerOperation(emit, { rows: 1, copies }) }),
  };
});
