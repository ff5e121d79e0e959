/** Commands about models in the cache. */

import { listCachedModels, removeCachedModel } from '../hub/manage';
import { hubSettings } from '../hub/settings';
import type { Command } from './command';
import { megabytes, table } from './terminal';

export const lsCommand: Command = {
  name: 'ls',
  summary: 'List the downloaded models.',
  operands: [],
  options: {},
  help: `Lists the models in the cache of huggingface_hub, also those that other programs downloaded. Commits of one repository
share equal files, which count for each of them.`,
  examples: ['mbok ls', 'mbok ls --json'],
  async run() {
    const { cache } = hubSettings();
    const models = await listCachedModels();
    const rows = models.map(({ repo, refs, commit, files, bytes }) => [
      `hf:${repo}`,
      refs.join(', '),
      commit.slice(0, 8),
      `${files.length}`,
      megabytes(bytes),
    ]);
    return {
      json: { cache, models },
      lines:
        rows.length === 0
          ? [`no models in ${cache}`]
          : [...table([['model', 'revision', 'commit', 'files', 'size'], ...rows]), `in ${cache}`],
    };
  },
};

export const rmCommand: Command = {
  name: 'rm',
  summary: 'Remove downloaded models.',
  operands: ['NAME...'],
  options: {},
  help: `NAME is as for mbok pull. hf:user/repo removes all that is stored of a repository, #revision only that commit, and a
quantization or a file only these files. Contents that other commits use stay.`,
  examples: ['mbok rm hf:HuggingFaceTB/SmolLM2-135M-Instruct', 'mbok rm hf:user/repo:Q8_0'],
  async run(call) {
    const removed = [];
    for (const name of call.operands) removed.push(await removeCachedModel(name));
    return {
      json: { removed },
      lines: removed.map(({ repo, bytes }) => `${repo}: ${megabytes(bytes)} removed`),
    };
  },
};
