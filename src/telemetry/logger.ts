import pino, { type Logger } from 'pino';

const FLUSH_EVERY_MS = 200;

/** The process's log, and how to see it out before the process ends. */
export interface Log {
  readonly logger: Logger;
  /** Write what is still held back, at once. */
  flush(): void;
}

/**
 * Open the log: JSON lines on standard output, written in batches, since a write for each call would cost more than the call.
 *
 * Lines are held back for 200 ms at most. No line holds a key, a prompt or an answer.
 */
export function openLog(level: string): Log {
  const destination = pino.destination({ fd: 1, sync: false, minLength: 8192 });
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
  const timer = setInterval(() => destination.flush(), FLUSH_EVERY_MS);
  timer.unref();
  return {
    logger,
    flush() {
      try {
        destination.flushSync();
      } catch {
        // Not open yet, or the reader of our output is gone: there is nobody left to tell.
      }
    },
  };
}
