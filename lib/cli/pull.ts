import { pullModel } from '../hub/pull';
import { parseReference } from '../hub/reference';
import type { Command, CommandCall, Outcome } from './command';
import { pullProgress } from './load_model';
import { megabytes, StatusLine } from './terminal';

export const pullCommand: Command = {
  name: 'pull',
  summary: 'Download models from the hub.',
  operands: ['NAME...'],
  options: {},
  help: `NAME is hf:user/repo[:quant][/file][#revision], or an address of huggingface.co or hf.co. Every command that takes a
model takes such a name too, and downloads what is missing.

  hf:user/repo                a folder of safetensors with its tokenizer, if the repository has one; otherwise its only
                              GGUF file, or that of Q4_K_M, or that of Q8_0
  hf:user/repo:Q6_K           the GGUF file of a quantization, with all its parts if it is split
  hf:user/repo/a/model.gguf   a file, or a model in a folder of the repository
  hf:user/repo#v1.0           a branch, a tag or a commit instead of main

Files go to the cache of Python's huggingface_hub and are shared with it. A stopped download continues, and each file is
checked by its hash. Without --json the path of each model is printed.

  HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME   place of the cache (default: ~/.cache/huggingface/hub)
  HF_TOKEN, HF_TOKEN_PATH                 access token, or its file, for private models and models with terms
  HF_ENDPOINT                             another hub or mirror
  HF_HUB_OFFLINE=1                        use only what is in the cache`,
  examples: [
    'mbok pull hf:HuggingFaceTB/SmolLM2-135M-Instruct',
    'mbok pull hf:bartowski/SmolLM2-135M-Instruct-GGUF:Q8_0 --json',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  // a misspelt name should not wait for the download of the one before it
  for (const name of call.operands) parseReference(name);
  const status = new StatusLine();
  try {
    const models = [];
    for (const name of call.operands) {
      models.push(await pullModel(name, { signal: call.signal, onProgress: pullProgress(status) }));
    }
    status.clear();
    return {
      json: { models },
      lines: models.flatMap(({ path, repo, commit, files, bytes, downloadedBytes }) => [
        path,
        `${repo} at ${commit.slice(0, 8)}: ${files.length} ${files.length === 1 ? 'file' : 'files'}, ${megabytes(bytes)}, ${megabytes(downloadedBytes)} of them downloaded`,
      ]),
    };
  } finally {
    status.clear();
  }
}
