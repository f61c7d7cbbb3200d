import type { CallContext, Layer } from '../completion.ts';
import { GatewayError } from '../errors.ts';

/**
 * End a call when its time is over, retries and waits included.
 *
 * `totalMs` tells how long this call may take; the deadline that came with the call goes before it where it is sooner.
 */
export function deadline<Request, Event>(
  totalMs: (request: Request, context: CallContext) => number,
): Layer<Request, Event> {
  return (next) =>
    async function* withinDeadline(request, outer) {
      const now = performance.now();
      const allowedMs = Math.min(totalMs(request, outer), outer.deadline - now);
      const controller = new AbortController();
      const abort = () => controller.abort(outer.signal.reason);
      const expire = () => {
        const message = `the call was not over within ${Math.round(allowedMs)} ms`;
        controller.abort(new GatewayError('deadline_exceeded', message));
      };
      if (outer.signal.aborted) abort();
      if (allowedMs <= 0) expire();
      outer.signal.addEventListener('abort', abort);
      const timer = setTimeout(expire, allowedMs);
      try {
        if (controller.signal.aborted) throw controller.signal.reason;
        yield* next(request, { ...outer, signal: controller.signal, deadline: now + allowedMs });
      } finally {
        clearTimeout(timer);
        outer.signal.removeEventListener('abort', abort);
      }
    };
}
