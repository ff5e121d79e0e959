// Lets Node require TypeScript, compiled as jest compiles it: `node --require ./test/typescript.cjs FILE.ts`.
const { readFileSync } = require('node:fs');
const { transformSync } = require('@swc/core');

const options = {
  jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
  module: { type: 'commonjs', ignoreDynamic: true },
};

exports.compile = (source, filename) => transformSync(source, { ...options, filename }).code;

require.extensions['.ts'] = (module, filename) => {
  module._compile(exports.compile(readFileSync(filename, 'utf8'), filename), filename);
};
