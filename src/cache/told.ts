import type { CompletionEvent } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { StopSignal } from '../stop.ts';

type Result = IteratorResult<CompletionEvent, undefined>;

/** Events that are at hand already, as the path of a call hands them on. */
export class Told implements AsyncIterableIterator<CompletionEvent, undefined> {
  readonly #events: Iterator<CompletionEvent, undefined>;
  readonly #signal: StopSignal;

  constructor(events: Iterator<CompletionEvent, undefined>, signal: StopSignal) {
    this.#events = events;
    this.#signal = signal;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result> {
    return this.#signal.aborted ? Promise.reject(this.#signal.reason) : Promise.resolve(this.#events.next());
  }

  return(): Promise<Result> {
    this.#events.return?.();
    return Promise.resolve({ done: true, value: undefined });
  }
}
