import type { Logger } from 'pino';

/** How often the log is told of the same trouble. */
const REMIND_MS = 10_000;

/**
 * Log what goes wrong with a listener, now and then.
 *
 * None of it ends the listener: connections that the system cannot give us now, such as for want of file descriptors, come again
 * or do not. When it is short of them this is told for each connection that comes.
 */
export function tellTrouble(log: Logger): { failed(error: Error): void; dropped(): void } {
  const tell = (say: (times: number, last: Error | undefined) => void) => {
    let toldAt = Number.NEGATIVE_INFINITY;
    let times = 0;
    return (last?: Error) => {
      times++;
      const now = performance.now();
      if (now - toldAt < REMIND_MS) return;
      toldAt = now;
      say(times, last);
      times = 0;
    };
  };
  return {
    failed: tell((times, err) => log.error({ err, times }, 'the listener failed')),
    dropped: tell((connections) => log.warn({ connections }, 'connections were closed: there are too many')),
  };
}
