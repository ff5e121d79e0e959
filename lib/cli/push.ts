import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { version } from '../base/version';
import { isReference, parseReference } from '../hub/reference';
import { hubSettings } from '../hub/settings';
import { type UploadFile, uploadFiles } from '../hub/upload';
import { exists } from '../io/files';
import { BASELINE_FILE, COMPANIONS, CONFIG_FILE, MARKER_FILE } from '../io/model_files';
import { INDEX_FILE, readIndex, WEIGHTS_FILE } from '../io/safetensors_shards';
import { inspect } from '../models/inspect';
import { modelCard } from '../models/model_card';
import { type Command, type CommandCall, type Outcome, UsageError } from './command';
import { readMetrics } from './push_metrics';
import { megabytes, StatusLine } from './terminal';

const CARD_FILE = 'README.md';

export const pushCommand: Command = {
  name: 'push',
  summary: 'Upload a model to the hub, with a model card.',
  operands: ['DIR', 'USER/REPO'],
  options: {
    base: {
      kind: 'text',
      value: 'USER/REPO',
      help: 'the model that was converted, for the card',
    },
    metrics: {
      kind: 'text',
      value: 'FILE',
      many: true,
      help: 'results for the card: from mbok eval --json or mbok eval tasks --out; or the folder of a report',
    },
  },
  help: `Uploads the files of the model in DIR as one commit to the branch main. The repository is created as a public one unless
it exists: create it at the hub first if it should be private. The card, README.md, names the base model and the relation
to it (with --base), sizes, forms of layers and the metrics of the given files. Of a report these are the results of the model
that has the name and the size of DIR. If DIR has a README.md, that is uploaded instead.

HF_TOKEN must be a token that may write.`,
  examples: [
    'mbok push small me/small-boolean --base HuggingFaceTB/SmolLM2-135M-Instruct',
    'mbok push small me/small-boolean --metrics perplexity.json --metrics tasks.json',
    'mbok push calibrated-k2 me/small-boolean --metrics report',
  ],
  run,
};

async function run(call: CommandCall): Promise<Outcome> {
  const [folder, target] = [call.operand(0), call.operand(1)];
  const repo = repositoryOf('USER/REPO', target);
  const named = call.text('base');
  const base = named === undefined ? undefined : repositoryOf('--base', named);
  const storage = await inspect(folder, { signal: call.signal });
  if (storage.download !== undefined || !(await exists(join(folder, CONFIG_FILE)))) {
    throw new UsageError(`DIR must be a folder with a model, got '${folder}'`);
  }
  const metrics = (await Promise.all(call.texts('metrics').map((path) => readMetrics(path, folder, storage)))).flat();
  const card = modelCard(storage, { repo, base, metrics, version: version() });
  const files = await filesOf(folder, card);
  const status = new StatusLine();
  try {
    const onProgress = status.progress('push');
    const message = `Upload by mbok ${version()}`;
    const commit = await uploadFiles(repo, files, {
      settings: hubSettings(),
      message,
      signal: call.signal,
      onProgress,
    });
    status.clear();
    const names = files.map(({ name }) => name);
    return {
      json: { repo, commit, files: names, bytes: storage.bytes },
      lines: [`${commit}: ${names.length} files, ${megabytes(storage.bytes)} of weights`],
    };
  } finally {
    status.clear();
  }
}

/** Checks the name of a repository. Throws UsageError. */
function repositoryOf(name: string, text: string): string {
  try {
    const { repo, quant, path, revision } = parseReference(isReference(text) ? text : `hf:${text}`);
    if (quant === undefined && path === undefined && revision === 'main') return repo;
  } catch (error) {
    if (!(error instanceof MbokError)) throw error;
  }
  throw new UsageError(`${name} must be a repository such as me/model, got '${text}'`);
}

async function filesOf(folder: string, card: string): Promise<readonly UploadFile[]> {
  const hasIndex = !(await exists(join(folder, WEIGHTS_FILE)));
  const weights = hasIndex
    ? [INDEX_FILE, ...new Set((await readIndex(join(folder, INDEX_FILE))).values())]
    : [WEIGHTS_FILE];
  const names = [CARD_FILE, CONFIG_FILE, ...COMPANIONS, BASELINE_FILE, MARKER_FILE, ...weights];
  const files: UploadFile[] = [];
  for (const name of names) {
    const path = join(folder, name);
    if (await exists(path)) files.push({ name, content: path });
    else if (name === CARD_FILE) files.push({ name, content: Buffer.from(card) });
  }
  return files;
}
