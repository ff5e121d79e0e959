/** Returns the version of mbok. */
export function version(): string {
  return (require('../../package.json') as { version: string }).version;
}
