import type { CompletionEvent } from '../../gen/llmgateway/v1/completion_pb.ts';
import { heartbeat, type Layer } from '../completion.ts';

/** Give a sign of life to a caller who has waited for so long. Streams only: nobody reads the heartbeats of a whole answer. */
export function heartbeats(intervalMs: number): Layer {
  return (next) => (request, context) => {
    const events = next(request, context);
    return context.streaming ? new WithHeartbeats(events, intervalMs) : events;
  };
}

type Result = IteratorResult<CompletionEvent, undefined>;

/**
 * Events of an inner stream, with a heartbeat wherever the next one lets the reader wait for the interval.
 *
 * A race of promises for each event would leave a reaction behind on the timer's promise each time; so the promise given to the
 * reader is settled by whichever comes first, and the inner stream's event is kept if the heartbeat was.
 */
class WithHeartbeats implements AsyncIterableIterator<CompletionEvent, undefined> {
  readonly #inner: AsyncIterator<CompletionEvent>;
  readonly #intervalMs: number;
  #timer: NodeJS.Timeout | undefined;
  #pending = false;
  #arrived: { result: Result } | { error: unknown } | undefined;
  #reader: { resolve: (result: Result) => void; reject: (error: unknown) => void } | undefined;
  #waitingSince = 0;

  constructor(events: AsyncIterable<CompletionEvent>, intervalMs: number) {
    this.#inner = events[Symbol.asyncIterator]();
    this.#intervalMs = intervalMs;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result> {
    if (this.#arrived) {
      const arrived = this.#arrived;
      this.#arrived = undefined;
      return 'error' in arrived ? Promise.reject(arrived.error) : Promise.resolve(arrived.result);
    }
    this.#waitingSince = performance.now();
    this.#timer ??= setTimeout(this.#beat, this.#intervalMs);
    if (!this.#pending) {
      this.#pending = true;
      this.#inner.next().then(this.#arrive, this.#fail);
    }
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
    });
  }

  async return(): Promise<Result> {
    this.#stop();
    await this.#inner.return?.();
    return { done: true, value: undefined };
  }

  readonly #arrive = (result: Result): void => {
    this.#pending = false;
    if (result.done) this.#stop();
    const reader = this.#reader;
    this.#reader = undefined;
    if (reader) reader.resolve(result);
    else this.#arrived = { result };
  };

  readonly #fail = (error: unknown): void => {
    this.#pending = false;
    this.#stop();
    const reader = this.#reader;
    this.#reader = undefined;
    if (reader) reader.reject(error);
    else this.#arrived = { error };
  };

  readonly #beat = (): void => {
    const waited = this.#reader ? performance.now() - this.#waitingSince : 0;
    if (waited < this.#intervalMs - 1) {
      this.#timer = setTimeout(this.#beat, this.#intervalMs - waited);
      return;
    }
    this.#timer = undefined;
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.resolve({ done: false, value: heartbeat });
  };

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
