import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { built, root } from '../helpers/builds';

test('commands that write the same folder and are killed touch nothing foreign and leave no mixed model', () => {
  built('dist');
  // `npm run test:kills` kills two hundred
  const script = join(root, 'scripts/test-kills.mjs');
  const result = spawnSync(process.execPath, [script, '--kills', '10'], { encoding: 'utf8' });
  expect(result.stderr).not.toMatch(/FAILED/);
  expect(result.stdout).toMatch(/^\d+ kills in \d+ rounds/);
  expect(result.status).toBe(0);
});
