import { spawnSync } from 'node:child_process';

/** Namespaces whose functions run only after a check of the CPU. */
const ALLOWED = /\bmbok::avx(2|512\w*)::/;

/**
 * Instructions beyond the baseline of x86-64: VEX and EVEX encodings (their mnemonics begin with v and use vector or
 * mask registers), and later scalar bit operations. tzcnt is missing because compilers write it for `rep bsf`.
 */
const VECTOR = /^v\w+\s.*%([xyz]mm\d|k\d)/;
const MASK = /^k(mov|and|or|xor|not|shift|test|unpck|add|xnor)\w*\s/;
const SCALAR = /^(popcnt|lzcnt|pdep|pext|mulx|rorx|sarx|shlx|shrx|andn|bextr|blsi|blsr|blsmsk|bzhi)[lq]?\s/;

/** Lists the functions of a binary that use newer instructions without a check of the CPU. */
export function misplacedInstructions(binary: string): string[] {
  const result = spawnSync('objdump', ['-d', '-C', '--no-show-raw-insn', binary], {
    encoding: 'utf8',
    maxBuffer: 1 << 30,
  });
  if (result.status !== 0) throw new Error(`objdump failed: ${result.error ?? result.stderr}`);
  const found = new Map<string, string>();
  let current = '';
  for (const line of result.stdout.split('\n')) {
    const heading = /^[0-9a-f]+ <(.*)>:$/.exec(line);
    if (heading) {
      current = heading[1] as string;
    } else if (!found.has(current) && !ALLOWED.test(current)) {
      const instruction = line.slice(line.indexOf('\t') + 1);
      if (VECTOR.test(instruction) || MASK.test(instruction) || SCALAR.test(instruction))
        found.set(current, instruction);
    }
  }
  return [...found].map(([name, instruction]) => `${name}: ${instruction}`);
}

/** Counts the functions that use wide registers in the namespaces that may. */
export function wideFunctions(binary: string): number {
  const result = spawnSync('objdump', ['-t', '-C', binary], { encoding: 'utf8', maxBuffer: 1 << 30 });
  return result.stdout.split('\n').filter((line) => ALLOWED.test(line)).length;
}
