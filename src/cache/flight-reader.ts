import type { CallContext } from '../completion.ts';

/** What one call of several brings to the flight that they share. */
export interface Boarding<Event> {
  readonly context: CallContext;
  /** What this reader is told of an event. `pays`: it is the one that is charged for the answer. */
  readonly tell: (event: Event, pays: boolean) => Event;
}

/** What a reader finds at its place; undefined: it is still to come. */
export type Found<Event> = { readonly event: Event } | { readonly error: unknown } | 'end' | undefined;

/** What a reader asks of its flight. */
interface Log<Event> {
  find(position: number): Found<Event>;
  pays(reader: FlightReader<Event>): boolean;
  pull(): void;
  leave(reader: FlightReader<Event>): void;
}

type Result<Event> = IteratorResult<Event, undefined>;
interface Waiting<Event> {
  readonly resolve: (result: Result<Event>) => void;
  readonly reject: (error: unknown) => void;
}

/** One reader of a flight. It has its own place, its own deadline and its own leaving: those of its call. */
export class FlightReader<Event> implements AsyncIterableIterator<Event, undefined> {
  readonly context: CallContext;
  readonly #log: Log<Event>;
  readonly #tell: Boarding<Event>['tell'];
  /** How many events it has read. */
  position = 0;
  #waiting: Waiting<Event> | undefined;
  #isOver = false;

  constructor(log: Log<Event>, context: CallContext, tell: Boarding<Event>['tell']) {
    this.#log = log;
    this.context = context;
    this.#tell = tell;
    context.signal.addEventListener('abort', this.#abort);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result<Event>> {
    const { signal } = this.context;
    if (signal.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      if (this.#isOver) return resolve({ done: true, value: undefined });
      const waiting = { resolve, reject };
      const found = this.#log.find(this.position);
      if (found !== undefined) return this.#take(found, waiting);
      this.#waiting = waiting;
      this.#log.pull();
    });
  }

  return(): Promise<Result<Event>> {
    this.#end();
    this.#waiting?.resolve({ done: true, value: undefined });
    this.#waiting = undefined;
    return Promise.resolve({ done: true, value: undefined });
  }

  /** There may be something new. */
  wake(): void {
    if (this.#waiting === undefined) return;
    const found = this.#log.find(this.position);
    if (found === undefined) return;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    this.#take(found, waiting);
  }

  #take(found: NonNullable<Found<Event>>, { resolve, reject }: Waiting<Event>): void {
    if (found === 'end') {
      this.#end();
      resolve({ done: true, value: undefined });
    } else if ('error' in found) {
      this.#end();
      reject(found.error);
    } else {
      this.position++;
      resolve({ done: false, value: this.#tell(found.event, this.#log.pays(this)) });
    }
  }

  readonly #abort = (): void => {
    this.#end();
    this.#waiting?.reject(this.context.signal.reason);
    this.#waiting = undefined;
  };

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.context.signal.removeEventListener('abort', this.#abort);
    this.#log.leave(this);
  }
}
