/** Server-sent events at the pace of their reader. */

import { MbokError } from '../base/errors';

const encoder = new TextEncoder();
const COMMENT = encoder.encode(': keep-alive\n\n');

export interface EventStreamOptions {
  /** Seconds of silence after which a comment is sent. */
  readonly keepAliveSeconds: number;
  /** Seconds after which a reader that takes nothing is left. */
  readonly stallSeconds: number;
  /** Ends the connection of a reader that takes nothing; by default the stream fails. */
  readonly drop: (() => void) | undefined;
  /** Called if the reader leaves or is left: stops what makes the events. */
  readonly onLeave: (reason: unknown) => void;
}

/** Formats an event. Data is JSON, which has no line breaks. */
export function event(data: unknown, name?: string): string {
  const text = typeof data === 'string' ? data : JSON.stringify(data);
  return `${name === undefined ? '' : `event: ${name}\n`}data: ${text}\n\n`;
}

/**
 * Turns events into a body. The next event is asked for when the last one has been taken, so a slow reader slows down what
 * makes them. `events` must not throw.
 */
export function eventStream(events: AsyncIterator<string>, options: EventStreamOptions): ReadableStream<Uint8Array> {
  const { keepAliveSeconds, stallSeconds, drop, onLeave } = options;
  // begun at once, so that what a generator does at its end is done also if the reader leaves before the first event
  let pending: Promise<IteratorResult<string>> | undefined = events.next();
  let stalled: NodeJS.Timeout | undefined;
  const leave = (reason: unknown) => {
    clearTimeout(stalled);
    onLeave(reason);
    // runs what the generator has to do at its end
    void events.return?.();
  };
  const watch = (controller: ReadableStreamDefaultController<Uint8Array>) => {
    stalled = setTimeout(() => {
      const error = new MbokError('MBOK_ABORTED', `the client has read nothing for ${stallSeconds} s`);
      leave(error);
      if (drop === undefined) controller.error(error);
      else drop();
    }, 1000 * stallSeconds).unref();
  };
  return new ReadableStream<Uint8Array>(
    {
      start: watch,
      async pull(controller) {
        clearTimeout(stalled);
        pending ??= events.next();
        const next = await within(pending, keepAliveSeconds);
        if (next === undefined) controller.enqueue(COMMENT);
        else {
          pending = undefined;
          if (next.done) return controller.close();
          controller.enqueue(encoder.encode(next.value));
        }
        watch(controller);
      },
      cancel: leave,
    },
    { highWaterMark: 0 },
  );
}

/** Waits for a value; undefined if it takes longer than so many seconds. */
async function within<T>(value: Promise<T>, seconds: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), 1000 * seconds);
  });
  try {
    return await Promise.race([value, silence]);
  } finally {
    clearTimeout(timer);
  }
}
