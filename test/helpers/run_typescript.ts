import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** Returns the arguments of a Node process that runs TypeScript; its imports are relative to the repository. */
export function typeScriptArguments(source: string): string[] {
  const program = `
    const { compile } = require(${JSON.stringify(join(__dirname, '../typescript.cjs'))});
    const main = new module.constructor(${JSON.stringify(join(__dirname, '../../main.ts'))}, module);
    main.filename = ${JSON.stringify(join(__dirname, '../../main.ts'))};
    main.paths = module.paths;
    main._compile(compile(process.argv[1], main.filename), main.filename);`;
  return ['-e', program, source];
}

/**
 * Runs TypeScript in a separate process, with the repository as the current folder and the base of its imports.
 *
 * @param options - `limits`: arguments of the shell's ulimit; `env`: added to the environment; `seconds`: time limit
 * after which it is killed
 */
export function runTypeScript(
  source: string,
  { limits, env, seconds }: { limits?: string; env?: Record<string, string>; seconds?: number } = {},
): { status: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string } {
  const command = `exec "$0" "$@"`;
  const result = spawnSync(
    'bash',
    ['-c', limits ? `ulimit ${limits}; ${command}` : command, process.execPath, ...typeScriptArguments(source)],
    {
      cwd: join(__dirname, '../..'),
      encoding: 'utf8',
      env: { ...process.env, ...env },
      killSignal: 'SIGKILL',
      ...(seconds !== undefined && { timeout: 1000 * seconds }),
    },
  );
  const { status, signal, stdout, stderr } = result;
  return { status, signal, stdout, stderr };
}
