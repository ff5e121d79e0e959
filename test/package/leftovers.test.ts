/** `.ci/run` notices leftovers of tests. */

import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../helpers/builds';
import { temporaryFolder } from '../helpers/folders';

const folder = temporaryFolder();
const checkout = join(folder, 'checkout');
const home = join(folder, 'home');
const script = `set -eu; source .ci/steps.sh; use_own_group "$@"; enter_empty_room; eval "$1"; nothing_is_left`;

/** Runs shell commands in an empty room, like a step of `.ci/run`, and then the check. */
function leave(commands: string) {
  const { MBOK_CI_GROUP: _, ...env } = process.env;
  const options = { cwd: checkout, encoding: 'utf8', env: { ...env, HOME: home } } as const;
  const { status, stderr } = spawnSync('bash', ['.ci/try', commands], options);
  return { status, stderr };
}

beforeAll(() => {
  for (const path of [join(checkout, '.ci'), home]) mkdirSync(path, { recursive: true });
  spawnSync('git', ['init', '--quiet'], { cwd: checkout });
  copyFileSync(join(root, '.ci/steps.sh'), join(checkout, '.ci/steps.sh'));
  writeFileSync(join(checkout, '.ci/try'), script);
  writeFileSync(join(checkout, '.gitignore'), 'dist/\n*.tmp\n');
});

test('builds and the caches of tools do not count as leftovers', () => {
  const commands = 'mkdir dist; touch dist/a "$npm_config_cache/a" "$XDG_CACHE_HOME/swc-native-0"';
  expect(leave(commands)).toEqual({ status: 0, stderr: '' });
});

const choosesGroup = spawnSync('setpriv', ['--regid', '50000', '--keep-groups', 'true']).status === 0;

test.each([
  ['the temporary folder', '"$TMPDIR/left"'],
  ['the home folder', '"$HOME/left"'],
  ['the token cache', '"$MBOK_CACHE/left"'],
  ['the cache folder', '"$XDG_CACHE_HOME/left"'],
  ['the checkout', 'left'],
  ['the checkout, where git ignores it', 'left.tmp'],
  ...(choosesGroup ? [['the home folder of the user', '"$real_home/left"']] : []),
])('a file in %s is named', (_, path) => {
  expect(leave(`touch ${path}`)).toEqual({ status: 1, stderr: expect.stringMatching(/^left behind:\n.*left/) });
  expect(leave(`rm -f ${path}`)).toEqual({ status: 0, stderr: '' });
});
