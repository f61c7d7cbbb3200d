import type { CallLine } from './call-line.ts';

/** How many calls are kept. */
export const KEPT_CALLS = 1000;
/** Room for a usual line; longer ones are kept apart. */
const SLOT_BYTES = 1024;

/** A call that is kept. */
export interface KeptCall {
  /** Counts up with every call. */
  readonly number: number;
  /** When it ended, in milliseconds since 1970. */
  readonly endedMs: number;
  readonly line: CallLine;
}

/**
 * The lines of the calls that ended last.
 *
 * They are kept as bytes in one buffer. As objects they would live just long enough for the garbage collector to move each of
 * them twice.
 */
export class RecentCalls {
  readonly #bytes = Buffer.allocUnsafe(KEPT_CALLS * SLOT_BYTES);
  readonly #sizes = new Uint16Array(KEPT_CALLS);
  readonly #ended = new Float64Array(KEPT_CALLS);
  readonly #long = new Array<string | undefined>(KEPT_CALLS);
  #count = 0;

  /** Keep a line, as JSON. */
  add(json: string, endedMs: number): void {
    const slot = this.#count++ % KEPT_CALLS;
    this.#ended[slot] = endedMs;
    this.#long[slot] = undefined;
    // A character takes three bytes at most.
    if (json.length * 3 > SLOT_BYTES && Buffer.byteLength(json) > SLOT_BYTES) this.#long[slot] = json;
    else this.#sizes[slot] = this.#bytes.write(json, slot * SLOT_BYTES);
  }

  /** Newest first, from before a number on. */
  *before(number = Number.POSITIVE_INFINITY): Generator<KeptCall> {
    const oldest = Math.max(0, this.#count - KEPT_CALLS);
    for (let at = Math.min(number, this.#count) - 1; at >= oldest; at--) {
      const slot = at % KEPT_CALLS;
      const begin = slot * SLOT_BYTES;
      const json = this.#long[slot] ?? this.#bytes.toString('utf8', begin, begin + (this.#sizes[slot] ?? 0));
      yield { number: at, endedMs: this.#ended[slot] ?? 0, line: JSON.parse(json) };
    }
  }
}
