/** The stable code of a {@link MbokError}: programs test it, messages are for people. */
export const MbokErrorCode = {
  /** An argument or option has the wrong type or a value outside its range. */
  MBOK_INVALID_ARGUMENT: 'MBOK_INVALID_ARGUMENT',
  /** Shapes of tensors, or of a file's tensors and its configuration, do not fit together. */
  MBOK_SHAPE: 'MBOK_SHAPE',
  /** The model, plan or buffer was used after `dispose()`. */
  MBOK_DISPOSED: 'MBOK_DISPOSED',
  /** An `AbortSignal` stopped the call; no half-applied step is left behind. */
  MBOK_ABORTED: 'MBOK_ABORTED',
  /** The object is already running a call that excludes this one. */
  MBOK_BUSY: 'MBOK_BUSY',
  /** The operating system refused to read or write a file; the message names the path, `cause` is its error. */
  MBOK_IO: 'MBOK_IO',
  /** A file was read but its content is not what its format says. */
  MBOK_FORMAT: 'MBOK_FORMAT',
  /** The input is well formed but of a kind (model family, format version, data type) that mbok does not handle. */
  MBOK_UNSUPPORTED: 'MBOK_UNSUPPORTED',
  /** A weight, a loss or a result is NaN or infinite. */
  MBOK_NON_FINITE: 'MBOK_NON_FINITE',
  /** Native memory could not be allocated. */
  MBOK_OUT_OF_MEMORY: 'MBOK_OUT_OF_MEMORY',
  /** A text function was called on a model that was loaded without a tokenizer. */
  MBOK_NO_TOKENIZER: 'MBOK_NO_TOKENIZER',
  /** No native binary for this platform could be found or loaded. */
  MBOK_NATIVE_MISSING: 'MBOK_NATIVE_MISSING',
  /** An optional package (for charts) is not installed; the message says which. */
  MBOK_PACKAGE_MISSING: 'MBOK_PACKAGE_MISSING',
  /** mbok broke a promise to itself; please report it. */
  MBOK_INTERNAL: 'MBOK_INTERNAL',
} as const;

/** Union of all codes, see the constant of the same name for the meaning of each. */
export type MbokErrorCode = (typeof MbokErrorCode)[keyof typeof MbokErrorCode];

/** Characters of a message: what it quotes from a file, such as a name, may be of any length. */
const LONGEST_MESSAGE = 2000;

/** A long message without its middle: its beginning names the place, its end the fault. */
function shortened(message: string): string {
  if (message.length <= LONGEST_MESSAGE) return message;
  const half = LONGEST_MESSAGE / 2 - 1;
  return `${message.slice(0, half)}…${message.slice(-half)}`;
}

/** The one error class that mbok throws on purpose. The message names the argument, the file and the offending value. */
export class MbokError extends Error {
  /** Always 'MbokError', which holds across realms where `instanceof` does not. */
  override readonly name = 'MbokError';
  /** What went wrong, as a stable string. */
  readonly code: MbokErrorCode;

  /**
   * @param code - what went wrong
   * @param message - for people; names the argument or file and the value; shortened to 2000 characters
   * @param options - `cause`: the error that led to this one
   */
  constructor(code: MbokErrorCode, message: string, options?: { cause?: unknown }) {
    super(shortened(message), options);
    this.code = code;
  }
}
