/**
 * Two threads against one on a compute-bound product, in fresh processes that take turns. As a program:
 * MBOK_THREADS=n node bench/scaling.mjs prints the seconds of one product.
 */

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { linear, median, randomMatrix, secondsPerOperation } from './measure.mjs';

const SIZE = 1536;
const PAIRS = 5;

async function secondsOfProduct() {
  const [x, w] = [randomMatrix(SIZE, SIZE, 1), randomMatrix(SIZE, SIZE, 2)];
  return secondsPerOperation((graph) => linear(graph.bind(x), graph.bind(w)), { rows: SIZE });
}

/** @returns {number} median ratio of one thread's time to that of `threads` */
export function measureScaling(threads) {
  const seconds = (count) =>
    Number(
      execFileSync(process.execPath, [fileURLToPath(import.meta.url)], {
        encoding: 'utf8',
        env: { ...process.env, MBOK_THREADS: String(count) },
      }),
    );
  return median(Array.from({ length: PAIRS }, () => seconds(1) / seconds(threads)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(await secondsOfProduct());
