// Builds the plain C++ test program with AddressSanitizer and UndefinedBehaviorSanitizer and runs it. Arguments are
// passed to the test program.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const build = join(root, 'native/build/asan');

run('cmake', ['-S', root, '-B', build, '-DMBOK_SANITIZE=ON', '-DMBOK_TESTS=ON']);
run('cmake', ['--build', build, '--target', 'mbok_test', '--parallel', String(availableParallelism())]);
run(join(build, 'mbok_test'), process.argv.slice(2));

function run(command, args) {
  const result = spawnSync(command, args, { stdio: 'inherit' });
  if (result.error) throw result.error;
  if (result.status !== 0) process.exit(result.status ?? 1);
}
