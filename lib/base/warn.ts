/**
 * Emits a process warning, for facts that a caller should know although the call continues. Node prints it to stderr,
 * and programs may listen to `process.on('warning')`. Its `name` is 'MbokWarning'.
 */
export function warn(message: string): void {
  process.emitWarning(message, 'MbokWarning');
}
