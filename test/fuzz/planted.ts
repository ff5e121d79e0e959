/** Cases that do what the product must never do, one kind after the other. */

import { MbokError, type MbokErrorCode } from '../../lib/base/errors';
import type { Draw } from './draw';
import type { Generator, Trial } from './trial';

const later = () => new Promise((resolve) => setTimeout(resolve, 60_000));
/** Uses the processor for this time. */
const spin = (milliseconds: number) => {
  const used = () => process.cpuUsage().user + process.cpuUsage().system;
  const end = used() + 1000 * milliseconds;
  while (used() < end);
};

/** Planted faults by the kind of their finding, or 'none'. */
export const PLANTED = {
  none: (trial: Trial) => trial.call('plain', 0, () => 1),
  refused: (trial: Trial) =>
    trial.call('refuse', 0, () => {
      throw new MbokError('MBOK_FORMAT', 'no');
    }),
  error: (trial: Trial) => trial.call('raise', 0, () => (undefined as unknown as { a: { b: number } }).a.b),
  message: (trial: Trial) =>
    trial.call('chatter', 0, () => {
      // the constructor would shorten the message
      throw Object.assign(new MbokError('MBOK_FORMAT', ''), { message: 'x'.repeat(3000) });
    }),
  code: (trial: Trial) =>
    trial.call('code', 0, () => {
      throw new MbokError('MBOK_NONSENSE' as MbokErrorCode, 'no');
    }),
  internal: (trial: Trial) =>
    trial.call('internal', 0, () => {
      throw new MbokError('MBOK_INTERNAL', 'no');
    }),
  wrong: async (trial: Trial) => trial.wrong('count', '1 is not 2'),
  polluted: (trial: Trial) =>
    trial.call('pollute', 0, () => {
      (Object.prototype as { planted?: number }).planted = 1;
    }),
  slow: (trial: Trial) => trial.call('dawdle', 0, () => spin(500)),
  hang: (trial: Trial) => trial.call('spin', 0, () => spin(60_000)),
  wait: (trial: Trial) => trial.call('wait', 0, later),
  memory: (trial: Trial) => trial.call('eat', 0, () => Buffer.alloc(700 << 20, 1).length),
  exit: (trial: Trial) => trial.call('leave', 0, () => process.exit(0)),
  abort: (trial: Trial) => trial.call('abort', 0, () => process.abort()),
  uncaught: (trial: Trial) =>
    trial.call('throw later', 0, async () => {
      setTimeout(() => {
        throw new Error('nobody catches this');
      });
      await later();
    }),
} as const;

const NAMES = Object.keys(PLANTED) as (keyof typeof PLANTED)[];

export const planted: Generator = {
  make(draw: Draw) {
    const label = NAMES[draw.number % NAMES.length] as keyof typeof PLANTED;
    return {
      label,
      files: { 'planted.txt': label },
      try: async (trial) => {
        await PLANTED[label](trial);
      },
    };
  },
};
