import { Flight, type FlightOptions } from './flight.ts';
import type { Boarding, FlightReader } from './flight-reader.ts';

/** What is the same for all flights of one kind. */
export interface SingleFlightOptions<Event> {
  readonly isLast: (event: Event) => boolean;
  /** About how many bytes an event takes. */
  readonly sizeOf: (event: Event) => number;
  /** The most bytes of one log. The default value is 4 MiB. */
  readonly maxLogBytes?: number;
  /** The most bytes of all logs together; above it every log is kept short. The default value is 64 MiB. */
  readonly maxBytes?: number;
}

/** What the call does that nobody else is making yet. */
export type Departure<Event> = Pick<FlightOptions<Event>, 'begin' | 'see'>;

const LOG_BYTES = 4 * 1024 * 1024;
const ALL_BYTES = 64 * 1024 * 1024;
/** How much of a log is kept for readers that are behind when all logs together take too much, as a share of its bound. */
const SHORT = 1 / 64;

/**
 * Lets equal calls share one call upstream, within this process.
 *
 * A call joins the flight of its key while that is open, and begins one otherwise.
 */
export class SingleFlight<Event> {
  readonly #options: SingleFlightOptions<Event>;
  readonly #flights = new Map<string, Flight<Event>>();
  #bytes = 0;

  constructor(options: SingleFlightOptions<Event>) {
    this.#options = options;
  }

  /** How many flights may be joined. */
  get count(): number {
    return this.#flights.size;
  }

  /** How many bytes the logs take. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Join the flight of a key; undefined: there is none. */
  join(key: string, boarding: Boarding<Event>): FlightReader<Event> | undefined {
    return this.#flights.get(key)?.join(boarding);
  }

  /** Begin a flight that others may join, in place of the present one of that key. */
  begin(key: string, boarding: Boarding<Event>, { begin, see }: Departure<Event>): FlightReader<Event> {
    const { context } = boarding;
    context.signal.throwIfAborted();
    const { isLast, sizeOf, maxLogBytes = LOG_BYTES, maxBytes = ALL_BYTES } = this.#options;
    const flight = new Flight<Event>(context, {
      begin,
      see,
      isLast,
      sizeOf,
      maxBytes: () => (this.#bytes > maxBytes ? maxLogBytes * SHORT : maxLogBytes),
      grew: (bytes) => {
        this.#bytes += bytes;
      },
      closed: () => {
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
      },
    });
    this.#flights.set(key, flight);
    return flight.join(boarding);
  }
}
