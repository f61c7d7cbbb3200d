import type { StopSignal } from '../stop.ts';

/** How long the line before a concurrency limit may be, and how long anybody stands in it. */
export interface WaitingOptions {
  readonly waitMs?: number;
  readonly longestLine?: number;
}

/**
 * Lets so many calls be under way at once; a few more wait a moment, in their order. A limit of 0 is none.
 *
 * A place that becomes free goes to the first in line, who has it from that moment on: nobody can come in between.
 */
export class ConcurrencyLimit {
  #most: number;
  readonly #waitMs: number;
  readonly #longestLine: number;
  readonly #line = new Set<() => void>();
  #active = 0;

  constructor(most: number, { waitMs = 1_000, longestLine = 1_000 }: WaitingOptions = {}) {
    this.#most = most;
    this.#waitMs = waitMs;
    this.#longestLine = longestLine;
  }

  /** Calls under way. */
  get active(): number {
    return this.#active;
  }

  /** Calls in line. */
  get waiting(): number {
    return this.#line.size;
  }

  /** Whether there is a place now, which there never is while anybody is in line. */
  get free(): boolean {
    return this.#most === 0 || this.#active < this.#most;
  }

  /** Take a place if there is one now. */
  tryEnter(): boolean {
    if (!this.free) return false;
    this.#active++;
    return true;
  }

  /**
   * Take a place once there is one. False: there was none in time, or the line is full. Throws the signal's reason if that comes
   * first.
   */
  async enter(signal: StopSignal): Promise<boolean> {
    signal.throwIfAborted();
    if (this.tryEnter()) return true;
    if (this.#waitMs <= 0 || this.#line.size >= this.#longestLine) return false;
    const entered = await this.#wait(signal);
    if (!signal.aborted) return entered;
    // The signal may come after the place, but before the caller learns of it.
    if (entered) this.leave();
    throw signal.reason;
  }

  /** Give a place back, exactly once for each that was taken. */
  leave(): void {
    this.#active--;
    this.#callNext();
  }

  /** Go on by another limit. With a lower one nobody is sent away, but nobody new comes in until enough have left. */
  configure(most: number): void {
    this.#most = most;
    this.#callNext();
  }

  /** Stand in line until a place is there, the time is up or the signal comes; only a place makes it true. */
  #wait(signal: StopSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (entered: boolean) => {
        this.#line.delete(begin);
        clearTimeout(timer);
        signal.removeEventListener('abort', giveUp);
        resolve(entered);
      };
      const begin = () => end(true);
      const giveUp = () => end(false);
      const timer = setTimeout(giveUp, this.#waitMs);
      signal.addEventListener('abort', giveUp);
      this.#line.add(begin);
    });
  }

  #callNext(): void {
    for (const begin of this.#line) {
      if (!this.free) return;
      this.#active++;
      begin();
    }
  }
}
