/** Tests import the TypeScript sources; @swc/jest strips the types, `npm run types` checks them. */
module.exports = {
  testEnvironment: 'node',
  // beside the packages it belongs to, not in the folder of temporary files
  cacheDirectory: '<rootDir>/node_modules/.cache/jest',
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  transform: {
    '\\.ts$': [
      '@swc/jest',
      { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'commonjs' } },
    ],
  },
  // the products under test use both cores of a small machine themselves
  maxWorkers: 2,
  // builds, conversions and training runs, not unit tests alone
  testTimeout: 300_000,
};
