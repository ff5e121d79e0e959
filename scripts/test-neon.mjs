// Builds the plain C++ test program for aarch64 and runs it under qemu: on a processor with all features for each
// MBOK_ISA, and on one with plain NEON. It needs g++-aarch64-linux-gnu and qemu-user (Debian), and skips if they are
// missing. Arguments are passed to the test program. Without names of cases a run takes about ten minutes on one core,
// six of them for head_loss, whose logits need several chunks.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const build = join(root, 'native/build/neon');

for (const tool of ['aarch64-linux-gnu-g++', 'qemu-aarch64'])
  if (spawnSync(tool, ['--version']).status !== 0) {
    console.log(`skipped: no ${tool} (apt-get install g++-aarch64-linux-gnu qemu-user)`);
    process.exit(0);
  }

const toolchain = join(root, 'scripts/aarch64-linux-gnu.cmake');
run('cmake', ['-S', root, '-B', build, `-DCMAKE_TOOLCHAIN_FILE=${toolchain}`, '-DMBOK_TESTS=ON']);
run('cmake', ['--build', build, '--target', 'mbok_test', '--parallel', String(availableParallelism())]);

// requested and expected instruction sets
for (const [cpu, isa, chosen] of [
  ['max', '', 'i8mm'],
  ['max', 'dotprod', 'dotprod'],
  ['max', 'neon', 'neon'],
  ['max', 'scalar', 'scalar'],
  ['cortex-a72', '', 'neon'],
]) {
  console.log(`\nprocessor ${cpu}, MBOK_ISA=${isa}`);
  // no case has this name, so only the instruction set is printed
  const { stdout } = emulate(cpu, isa, ['no such case'], 'pipe');
  if (!stdout.startsWith('on ') || !stdout.split('\n')[0].endsWith(`: ${chosen}`))
    throw new Error(`${chosen} was not chosen: ${stdout}`);
  const { status } = emulate(cpu, isa, process.argv.slice(2), 'inherit');
  if (status !== 0) process.exit(status ?? 1);
}
const { status, stderr } = emulate('cortex-a72', 'dotprod', [], 'pipe');
if (status === 0 || !stderr.includes("got 'dotprod'"))
  throw new Error(`MBOK_ISA=dotprod was not refused where the processor lacks it: ${stderr}`);

function emulate(cpu, isa, args, stdio) {
  const command = ['-L', '/usr/aarch64-linux-gnu', '-cpu', cpu, join(build, 'mbok_test'), ...args];
  return spawnSync('qemu-aarch64', command, { stdio, encoding: 'utf8', env: { ...process.env, MBOK_ISA: isa } });
}

function run(command, args) {
  const result = spawnSync(command, args, { stdio: 'inherit' });
  if (result.error) throw result.error;
  if (result.status !== 0) process.exit(result.status ?? 1);
}
