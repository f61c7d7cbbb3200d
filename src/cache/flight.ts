import type { Account, CallContext } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import { Stop } from '../stop.ts';
import { type Boarding, FlightReader, type Found } from './flight-reader.ts';

/** How a flight is carried out. */
export interface FlightOptions<Event> {
  readonly begin: (context: CallContext) => AsyncIterable<Event>;
  readonly isLast: (event: Event) => boolean;
  /** About how many bytes an event takes. */
  readonly sizeOf: (event: Event) => number;
  /**
   * Sees each event once, as it comes. A promise keeps the flight open for late joiners until it is settled.
   */
  readonly see: (event: Event) => Promise<unknown> | undefined;
  /** The most bytes of the log, at this moment. */
  readonly maxBytes: () => number;
  /** Told what the log takes more or, below 0, less. */
  readonly grew: (bytes: number) => void;
  /** Nobody may join any more. */
  readonly closed: () => void;
}

/**
 * One answer for any number of readers, each at its own pace.
 *
 * - Events are kept in a log. The fastest reader has the next one brought; whoever joins reads from the start.
 * - The log is bounded. When it is full its start is dropped: nobody joins any more, and readers that are further behind are cut.
 * - A reader that leaves leaves the others alone. The last one stops the call.
 * - The first of those present when the answer is whole pays for it, however far it has read.
 */
export class Flight<Event> {
  readonly #options: FlightOptions<Event>;
  readonly #readers = new Set<FlightReader<Event>>();
  readonly #stop = new Stop();
  readonly #ends: (() => void)[] = [];
  /** What the layers below note; it is handed on to the reader that pays. */
  readonly #account: Account = { tries: 0 };
  readonly #source: AsyncIterator<Event>;
  #deadline: number;
  #payer: FlightReader<Event> | undefined;
  readonly #events: Event[] = [];
  readonly #sizes: number[] = [];
  /** How many events were dropped from the start. */
  #dropped = 0;
  #bytes = 0;
  #pulling = false;
  #isOpen = true;
  #isWhole = false;
  #holds = 0;
  #outcome: { readonly error: unknown } | 'end' | undefined;

  /** `context` is that of the call that begins it. What `begin` throws at once is thrown. */
  constructor(context: CallContext, options: FlightOptions<Event>) {
    this.#options = options;
    this.#deadline = context.deadline;
    const latest = () => this.#deadline;
    const own: CallContext = {
      ...context,
      signal: this.#stop,
      ends: this.#ends,
      account: this.#account,
      // It is worth trying again as long as any reader has the time.
      get deadline() {
        return latest();
      },
    };
    try {
      this.#source = options.begin(own)[Symbol.asyncIterator]();
    } catch (cause) {
      this.#runEnds();
      throw cause;
    }
  }

  /** Read the whole answer, from its start. Only while the flight is open. */
  join({ context, tell }: Boarding<Event>): FlightReader<Event> {
    context.signal.throwIfAborted();
    this.#deadline = Math.max(this.#deadline, context.deadline);
    const reader = new FlightReader(this, context, tell);
    this.#readers.add(reader);
    if (this.#payer) context.account.free = true;
    else this.#charge(reader);
    return reader;
  }

  find(position: number): Found<Event> {
    const index = position - this.#dropped;
    if (index < 0) {
      const message = `this caller reads too slowly: others that share its answer are more than ${this.#options.maxBytes()} bytes ahead`;
      return { error: new GatewayError('overloaded', message) };
    }
    return index < this.#events.length ? { event: this.#events[index] as Event } : this.#outcome;
  }

  pays(reader: FlightReader<Event>): boolean {
    return reader === this.#payer;
  }

  /** Have the next event brought, unless it is under way. */
  pull(): void {
    if (this.#pulling || this.#outcome) return;
    this.#pulling = true;
    this.#source.next().then(this.#arrive, this.#fail);
  }

  leave(reader: FlightReader<Event>): void {
    this.#readers.delete(reader);
    if (this.#payer === reader) this.#note();
    if (this.#readers.size === 0) {
      if (this.#outcome === undefined) this.#abandon();
      else if (!this.#isOpen) this.#drop(this.#events.length);
    } else if (this.#payer === reader && !this.#isWhole) {
      const [next] = this.#readers;
      if (next) this.#charge(next);
      reader.context.account.free = true;
    }
  }

  #charge(reader: FlightReader<Event>): void {
    this.#payer = reader;
    reader.context.account.free = false;
    this.#note();
  }

  /** Hand on what is known so far. */
  #note(): void {
    if (this.#payer) Object.assign(this.#payer.context.account, this.#account);
  }

  readonly #arrive = (result: IteratorResult<Event>): void => {
    this.#pulling = false;
    if (this.#outcome) return;
    if (result.done) this.#settle('end');
    else this.#append(result.value);
    for (const reader of this.#readers) reader.wake();
  };

  readonly #fail = (error: unknown): void => {
    this.#pulling = false;
    if (this.#outcome) return;
    this.#settle({ error });
    for (const reader of this.#readers) reader.wake();
  };

  #append(event: Event): void {
    const { isLast, sizeOf, see, maxBytes, grew } = this.#options;
    const bytes = sizeOf(event);
    this.#events.push(event);
    this.#sizes.push(bytes);
    this.#bytes += bytes;
    grew(bytes);
    if (this.#bytes > maxBytes()) this.#shorten();
    this.#isWhole = isLast(event);
    this.#holdOpen(see(event));
    if (this.#isWhole || this.#dropped + this.#events.length === 1) this.#note();
  }

  /** Whoever looked for the answer just before it was stored must still find it here. */
  #holdOpen(until: Promise<unknown> | undefined): void {
    if (until === undefined) return;
    this.#holds++;
    const release = () => {
      this.#holds--;
      if (this.#outcome) this.#close();
    };
    until.then(release, release);
  }

  #settle(outcome: { error: unknown } | 'end'): void {
    this.#outcome = outcome;
    this.#note();
    this.#runEnds();
    this.#close();
  }

  /** The last reader has left before the end. */
  #abandon(): void {
    const error = new GatewayError('cancelled', 'the caller left');
    this.#outcome = { error };
    this.#close();
    this.#stop.abort(error);
    const returned = this.#source.return?.() ?? Promise.resolve();
    returned.then(this.#runEnds, this.#runEnds);
  }

  #close(): void {
    const isWanted = this.#holds > 0 && this.#outcome === 'end';
    if (this.#isOpen && !isWanted) {
      this.#isOpen = false;
      this.#options.closed();
    }
    if (!this.#isOpen && this.#readers.size === 0) this.#drop(this.#events.length);
  }

  /** Drop what every reader has read; if that is not enough, what some have not. */
  #shorten(): void {
    if (this.#isOpen) {
      this.#isOpen = false;
      this.#options.closed();
    }
    let slowest = this.#dropped + this.#events.length;
    for (const { position } of this.#readers) slowest = Math.min(slowest, position);
    let count = Math.max(0, slowest - this.#dropped);
    let left = this.#bytes;
    for (let at = 0; at < count; at++) left -= this.#sizes[at] as number;
    // The newest stays in any case: whoever keeps up gets it.
    for (; left > this.#options.maxBytes() && count < this.#events.length - 1; count++) {
      left -= this.#sizes[count] as number;
    }
    this.#drop(count);
  }

  #drop(count: number): void {
    if (count === 0) return;
    let freed = 0;
    for (const bytes of this.#sizes.splice(0, count)) freed += bytes;
    this.#events.splice(0, count);
    this.#dropped += count;
    this.#bytes -= freed;
    this.#options.grew(-freed);
  }

  readonly #runEnds = (): void => {
    for (let end = this.#ends.pop(); end; end = this.#ends.pop()) end();
  };
}
