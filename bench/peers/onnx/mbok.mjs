/** Contender: one row through a layer of K kernels in mbok, timed as in bench/decode.mjs. */

import { multiBooleanLinear, randomMatrix, secondsPerOperation } from '../../measure.mjs';
import { emitter, tiledOperands } from '../../products.mjs';
import { serve } from '../serve.mjs';

await serve(async ({ outputs, inputs, kernels, precision, bytes }) => {
  const weightBytes = (kernels * outputs * inputs) / 8;
  const copies = Math.ceil(bytes / weightBytes);
  const x = randomMatrix(1, inputs, 1);
  const operands = await tiledOperands(kernels, outputs, inputs, copies);
  const [, sOut, sIn] = operands[0];
  const emit = emitter(precision, (graph, i) =>
    multiBooleanLinear(graph.bind(x), ...operands[i].map((matrix) => graph.bind(matrix))),
  );
  return {
    info: { weightBytes: weightBytes + sOut.byteLength + sIn.byteLength },
    measure: async () => ({ seconds: await secondsPerOperation(emit, { rows: 1, copies }) }),
  };
});
