import { addon, guarded } from '../native/addon';
import { conditions } from '../report/conditions';
import type { Command, Outcome } from './command';
import { table } from './terminal';

export const infoCommand: Command = {
  name: 'info',
  summary: 'Show the processor and the implementation of each kernel function on it.',
  operands: [],
  options: {},
  help: `Every kernel function has a readable scalar implementation and faster ones for some instruction sets. The best one that
the processor supports is used. MBOK_ISA=scalar|avx2|avxvnni|avx512|amx (on aarch64 scalar|neon|dotprod|i8mm) forces a lower
set. MBOK_THREADS=N sets the number of threads (default: the physical cores that the process may use). Results do not
depend on the threads. A product of few rows looks up the bits of a Boolean layer directly; one of more rows rebuilds its
weights. The number of rows up to which look-up is faster was measured for each instruction set, and
MBOK_DECODE_ROWS=0 … 32 overrides it.`,
  examples: ['mbok info', 'MBOK_ISA=avx2 mbok info --json'],
  run,
};

async function run(): Promise<Outcome> {
  const { kernels, decodedRows } = guarded(() => addon().info());
  const { cpu, isa, threads, node, platform, processors } = conditions();
  return {
    json: { cpu, isa, threads, kernels, decodedRows, node, platform, processors },
    lines: [
      ...table([
        ['processor', cpu],
        ['instruction set', isa],
        ['threads', `${threads} of ${processors} processors`],
        ['system', `${platform}, Node ${node}`],
      ]),
      '',
      ...table([
        ['rows looked up', ...decodedRows.f32.map((_, k) => `K = ${k + 1}`)],
        ...Object.entries(decodedRows).map(([precision, rows]) => [precision, ...rows.map(String)]),
      ]),
      '',
      ...table([['kernel function', 'served by'], ...Object.entries(kernels).sort()]),
    ],
  };
}
