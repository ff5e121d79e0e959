/**
 * Tells what a caller should know although the call goes on, as a warning of the process: Node prints it to stderr, and
 * programs may listen to `process.on('warning')`. Its `name` is 'MbokWarning'.
 */
export function warn(message: string): void {
  process.emitWarning(message, 'MbokWarning');
}
