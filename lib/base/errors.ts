/** Stable codes of {@link MbokError}. Programs test the code; messages are for people. */
export const MbokErrorCode = {
  /** An argument or option has the wrong type or a value outside its range. */
  MBOK_INVALID_ARGUMENT: 'MBOK_INVALID_ARGUMENT',
  /** Shapes of tensors, or of a file's tensors and its configuration, do not fit together. */
  MBOK_SHAPE: 'MBOK_SHAPE',
  /** The model, plan or buffer was used after `dispose()`. */
  MBOK_DISPOSED: 'MBOK_DISPOSED',
  /** An `AbortSignal` stopped the call. No step has been applied in part. */
  MBOK_ABORTED: 'MBOK_ABORTED',
  /** The object is already running a call that excludes this one. */
  MBOK_BUSY: 'MBOK_BUSY',
  /**
   * The operating system refused to read or write a file. The message names the path, and `cause` is the system's
   * error.
   */
  MBOK_IO: 'MBOK_IO',
  /** A file's content does not follow its format. */
  MBOK_FORMAT: 'MBOK_FORMAT',
  /** The input is valid, but of a kind (model family, format version, data type) that mbok does not support. */
  MBOK_UNSUPPORTED: 'MBOK_UNSUPPORTED',
  /** A weight, a loss or a result is NaN or infinite. */
  MBOK_NON_FINITE: 'MBOK_NON_FINITE',
  /** Native memory could not be allocated. */
  MBOK_OUT_OF_MEMORY: 'MBOK_OUT_OF_MEMORY',
  /** A text function was called on a model without a tokenizer. */
  MBOK_NO_TOKENIZER: 'MBOK_NO_TOKENIZER',
  /** No native binary for this platform was found, or it could not be loaded. */
  MBOK_NATIVE_MISSING: 'MBOK_NATIVE_MISSING',
  /** An optional package (for charts) is not installed. The message names it. */
  MBOK_PACKAGE_MISSING: 'MBOK_PACKAGE_MISSING',
  /**
   * The hub cannot be reached, answers with an error after all attempts, or must not be asked (HF_HUB_OFFLINE) although
   * files are missing in the cache.
   */
  MBOK_NETWORK: 'MBOK_NETWORK',
  /** The hub refuses access: the model is gated or private, or the token is missing or not valid. */
  MBOK_HUB_DENIED: 'MBOK_HUB_DENIED',
  /** A download needs more bytes than the disk has free. Nothing has been downloaded. */
  MBOK_DISK_FULL: 'MBOK_DISK_FULL',
  /** The hub has no such repository, revision or file. */
  MBOK_HUB_MISSING: 'MBOK_HUB_MISSING',
  /** An internal check of mbok failed. Please report it. */
  MBOK_INTERNAL: 'MBOK_INTERNAL',
} as const;

/** Union of all codes. The constant of the same name describes each. */
export type MbokErrorCode = (typeof MbokErrorCode)[keyof typeof MbokErrorCode];

/** Longest message in characters. What it quotes from a file, such as a name, may have any length. */
const LONGEST_MESSAGE = 2000;

/** Cuts the middle out of a long message: its start names the place, its end the fault. */
function shortened(message: string): string {
  if (message.length <= LONGEST_MESSAGE) return message;
  const half = LONGEST_MESSAGE / 2 - 1;
  return `${message.slice(0, half)}…${message.slice(-half)}`;
}

/**
 * The only error class that mbok throws on purpose. The message names the argument, the file and the offending value.
 */
export class MbokError extends Error {
  /** Always 'MbokError'. It is valid across realms, where `instanceof` is not. */
  override readonly name = 'MbokError';
  /** The kind of error, as a stable string. */
  readonly code: MbokErrorCode;

  /**
   * @param code - kind of error
   * @param message - for people: names the argument or file and the value; shortened to 2000 characters
   * @param options - `cause`: the error that led to this one
   */
  constructor(code: MbokErrorCode, message: string, options?: { cause?: unknown }) {
    super(shortened(message), options);
    this.code = code;
  }
}
