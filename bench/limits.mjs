/** Builds and runs bench/native/limits.cc, which measures the machine's limits in the same run as the benchmarks. */

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const build = join(root, 'native', 'build', 'bench');

/** @returns {{cpu: string, isa: string, threads: number, read_bytes_per_second: number, f32_flops_per_second: number,
 *   bf16_flops_per_second: number, int8_flops_per_second: number, popcount_bits_per_second: number}} */
export function measureLimits() {
  const quiet = { stdio: ['ignore', 'ignore', 'inherit'] };
  execFileSync('cmake', ['-S', root, '-B', build, '-DMBOK_BENCH=ON'], quiet);
  execFileSync('cmake', ['--build', build, '--target', 'mbok_limits', '--parallel', '2'], quiet);
  return JSON.parse(execFileSync(join(build, 'mbok_limits'), { encoding: 'utf8' }));
}
