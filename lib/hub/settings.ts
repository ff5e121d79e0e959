/** Settings of the hub, from the environment variables that Python's huggingface_hub reads. */

import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { invalid } from '../base/validate';

/** Where models come from, and where they are stored. */
export interface HubSettings {
  /** Address of the hub, without a slash at its end. HF_ENDPOINT. */
  readonly endpoint: string;
  /** Folder of the cache. HF_HUB_CACHE, else `hub` in HF_HOME, else in `huggingface` in XDG_CACHE_HOME or ~/.cache. */
  readonly cache: string;
  /** Access token. HF_TOKEN, else the file HF_TOKEN_PATH, else `token` in HF_HOME; undefined without one. */
  readonly token: string | undefined;
  /** Whether the network must not be used. HF_HUB_OFFLINE. */
  readonly offline: boolean;
  /** Whether the cache must do without symbolic links. HF_HUB_DISABLE_SYMLINKS. */
  readonly withoutLinks: boolean;
}

/** Reads the settings. Throws MBOK_INVALID_ARGUMENT if HF_ENDPOINT is not an address. */
export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const home = folder(env.HF_HOME) ?? join(folder(env.XDG_CACHE_HOME) ?? join(homedir(), '.cache'), 'huggingface');
  const cache = folder(env.HF_HUB_CACHE) ?? folder(env.HUGGINGFACE_HUB_CACHE) ?? join(home, 'hub');
  return {
    endpoint: endpointOf(env.HF_ENDPOINT || 'https://huggingface.co'),
    cache,
    token:
      cleaned(env.HF_TOKEN) ??
      cleaned(env.HUGGING_FACE_HUB_TOKEN) ??
      cleaned(fileContent(folder(env.HF_TOKEN_PATH) ?? join(home, 'token'))),
    offline: isTrue(env.HF_HUB_OFFLINE) || isTrue(env.TRANSFORMERS_OFFLINE),
    withoutLinks: isTrue(env.HF_HUB_DISABLE_SYMLINKS),
  };
}

function endpointOf(text: string): string {
  const isAddress = /^https?:\/\//.test(text) && URL.canParse(text);
  return isAddress ? text.replace(/\/+$/, '') : invalid('HF_ENDPOINT', 'an address with http or https', text);
}

/** Replaces a leading `~`, which shells leave in `HF_HOME="~/models"`. */
function folder(path: string | undefined): string | undefined {
  return path ? path.replace(/^~(?=$|[/\\])/, homedir()) : undefined;
}

function isTrue(value: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(value ?? '');
}

/** Removes line breaks, which editors append to a token. */
function cleaned(token: string | undefined): string | undefined {
  return token?.replace(/[\r\n]/g, '').trim() || undefined;
}

function fileContent(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
