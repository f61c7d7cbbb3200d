import { AtOnce } from '../at-once.ts';
import type { CallContext, Layer } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import { Stop } from '../stop.ts';

/**
 * End a call when its time is over, retries and waits included.
 *
 * `totalMs` tells how long this call may take; the deadline that came with the call goes before it where it is sooner.
 */
export function deadline<Request, Event>(
  totalMs: (request: Request, context: CallContext) => number,
): Layer<Request, Event> {
  return (next) => (request, outer) => {
    const now = performance.now();
    const allowedMs = Math.min(totalMs(request, outer), outer.deadline - now);
    const stop = new Stop();
    const abort = () => stop.abort(outer.signal.reason);
    const expire = () => {
      const message = `the call was not over within ${Math.round(allowedMs)} ms`;
      stop.abort(new GatewayError('deadline_exceeded', message));
    };
    if (outer.signal.aborted) abort();
    if (allowedMs <= 0) expire();
    stop.throwIfAborted();
    const events = next(request, { ...outer, signal: stop, deadline: now + allowedMs });
    if (events instanceof AtOnce && events.isHere) return events;
    if (outer.signal.aborted) abort();
    outer.signal.addEventListener('abort', abort);
    const timer = setTimeout(expire, allowedMs);
    outer.ends.push(() => {
      clearTimeout(timer);
      outer.signal.removeEventListener('abort', abort);
    });
    return events;
  };
}
