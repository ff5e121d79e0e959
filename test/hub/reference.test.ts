import { isReference, parseReference } from '../../lib/hub/reference';
import { select } from '../../lib/hub/select';
import { hubSettings } from '../../lib/hub/settings';

const code = (body: () => unknown) => {
  try {
    return body();
  } catch (error) {
    return (error as { code?: string }).code;
  }
};

describe('names', () => {
  const plain = { repo: 'user/repo', revision: 'main', quant: undefined, path: undefined };
  test.each([
    ['hf:user/repo', plain],
    ['hf:user/repo/', plain],
    ['hf:user/repo#v1.0', { ...plain, revision: 'v1.0' }],
    ['hf:user/repo#refs/pr/1', { ...plain, revision: 'refs/pr/1' }],
    ['hf:user/repo:Q4_K_M', { ...plain, quant: 'Q4_K_M' }],
    ['hf:user/repo:q8_0#dev', { ...plain, quant: 'q8_0', revision: 'dev' }],
    ['hf:user/repo/a/model.gguf', { ...plain, path: 'a/model.gguf' }],
    ['hf:user/repo/model.gguf#dev', { ...plain, path: 'model.gguf', revision: 'dev' }],
    ['https://huggingface.co/user/repo', plain],
    ['http://hf.co/user/repo/', plain],
    ['hf.co/user/repo:Q4_K_M', { ...plain, quant: 'Q4_K_M' }],
    ['https://huggingface.co/user/repo/tree/dev', { ...plain, revision: 'dev' }],
    ['https://huggingface.co/user/repo/tree/main/sub', { ...plain, path: 'sub' }],
    ['https://huggingface.co/user/repo/tree/refs%2Fpr%2F3', { ...plain, revision: 'refs/pr/3' }],
    ['https://huggingface.co/user/repo/blob/main/a/model.gguf', { ...plain, path: 'a/model.gguf' }],
    [
      'https://huggingface.co/user/repo/resolve/v2/model.gguf?download=true',
      { ...plain, revision: 'v2', path: 'model.gguf' },
    ],
    ['https://huggingface.co/user/repo/blob/main/a%20b.gguf', { ...plain, path: 'a b.gguf' }],
  ])('%s', (text, expected) => {
    expect(isReference(text)).toBe(true);
    expect(parseReference(text)).toEqual(expected);
  });

  test.each([
    'hf:',
    'hf:repo',
    'hf:user/',
    'hf:../repo',
    'hf:user/..',
    'hf:user/re--po',
    'hf:user/repo:',
    'hf:user/repo/../../x.gguf',
    'hf:user/repo//x.gguf',
    'hf:user/repo/a\\b.gguf',
    'hf:user/repo/C:x.gguf',
    'hf:user/repo/a\0b.gguf',
    'hf:user/repo#../x',
    'hf:user/repo#',
    'https://huggingface.co/datasets/user/repo',
    'https://huggingface.co/user/repo/discussions/1',
    'https://huggingface.co/user/repo/blob/main/%2e%2e/%2e%2e/x.gguf',
  ])('%j is refused', (text) => {
    expect(isReference(text)).toBe(true);
    expect(code(() => parseReference(text))).toBe('MBOK_INVALID_ARGUMENT');
  });

  test.each(['model.gguf', './hf', '/models/x', 'https://example.com/user/repo', 'C:\\models'])(
    '%j is a local path',
    (text) => expect(isReference(text)).toBe(false),
  );
});

describe('choice of files', () => {
  const folder = ['config.json', 'model.safetensors', 'tokenizer.json', 'README.md', 'pytorch_model.bin'];
  const quants = ['m-Q4_K_M.gguf', 'm-Q4_K_S.gguf', 'm.Q8_0.gguf', 'mmproj-m-f16.gguf', 'README.md'];
  const split = ['F16/m-F16-00001-of-00002.gguf', 'F16/m-F16-00002-of-00002.gguf'];
  const choose = (text: string, names: readonly string[]) => code(() => select(parseReference(text), names).files);
  test.each<[string, string, readonly string[], unknown]>([
    ['a folder of safetensors', '', folder, ['config.json', 'tokenizer.json', 'model.safetensors']],
    ['a folder before GGUF files', '', [...folder, ...quants], ['config.json', 'tokenizer.json', 'model.safetensors']],
    [
      'the index of shards',
      '',
      ['config.json', 'model.safetensors.index.json'],
      ['config.json', 'model.safetensors.index.json'],
    ],
    [
      'a folder within the repository',
      '/sub',
      ['sub/config.json', 'sub/model.safetensors', 'config.json'],
      ['sub/config.json', 'sub/model.safetensors'],
    ],
    ['the folder of a named file', '/config.json', folder, ['config.json', 'tokenizer.json', 'model.safetensors']],
    ['a quantization in any case', ':q4_k_s', quants, ['m-Q4_K_S.gguf']],
    ['a quantization beside a folder', ':Q8_0', [...folder, ...quants], ['m.Q8_0.gguf']],
    ['Q4_K_M by default', '', quants, ['m-Q4_K_M.gguf']],
    ['Q8_0 without Q4_K_M', '', quants.slice(1), ['m.Q8_0.gguf']],
    ['the only file', '', ['x.gguf', 'mmproj-x.gguf'], ['x.gguf']],
    ['all parts of a split file', '', split, split],
    ['all parts of a named part', `/${split[1]}`, split, split],
    ['not the beginning of another quantization', ':Q4_K', quants, 'MBOK_HUB_MISSING'],
    ['not a missing part', '', split.slice(0, 1), 'MBOK_HUB_MISSING'],
    ['not one of two alike', '', ['a.gguf', 'b.gguf'], 'MBOK_INVALID_ARGUMENT'],
    ['not one of two with the quantization', ':Q8_0', ['a-Q8_0.gguf', 'b-Q8_0.gguf'], 'MBOK_INVALID_ARGUMENT'],
    ['no other formats', '', ['config.json', 'pytorch_model.bin'], 'MBOK_UNSUPPORTED'],
    ['no such folder', '/other', folder, 'MBOK_HUB_MISSING'],
    ['no file of another kind', '/README.md', folder, 'MBOK_UNSUPPORTED'],
    ['no quantization of safetensors', ':Q8_0', folder, 'MBOK_HUB_MISSING'],
  ])('%s', (_, suffix, names, expected) => {
    expect(choose(`hf:user/repo${suffix}`, names)).toEqual(expected);
  });

  test('the message lists the choices', () => {
    const call = () => select(parseReference('hf:user/repo'), ['a.gguf', 'b.gguf']);
    expect(call).toThrow('name one: hf:user/repo/a.gguf, hf:user/repo/b.gguf');
  });
});

describe('settings', () => {
  test.each<[NodeJS.ProcessEnv, string]>([
    [{ HF_HUB_CACHE: '/c', HF_HOME: '/h' }, '/c'],
    [{ HF_HOME: '/h', XDG_CACHE_HOME: '/x' }, '/h/hub'],
    [{ XDG_CACHE_HOME: '/x' }, '/x/huggingface/hub'],
    [{}, `${require('node:os').homedir()}/.cache/huggingface/hub`],
  ])('%j stores in %s', (env, cache) => {
    expect(hubSettings(env).cache).toBe(cache);
  });

  test('tokens lose line breaks, endpoints slashes', () => {
    const env = { HF_TOKEN: ' t\n', HF_ENDPOINT: 'https://mirror.example/', HF_HUB_OFFLINE: 'yes' };
    expect(hubSettings(env)).toMatchObject({ token: 't', endpoint: 'https://mirror.example', offline: true });
    expect(code(() => hubSettings({ HF_ENDPOINT: 'mirror' }))).toBe('MBOK_INVALID_ARGUMENT');
  });
});
