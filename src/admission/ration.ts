/** What calls are rationed by. */
export interface RationOptions {
  /** What a call may wait for the event loop, over all the turns that it needs, in milliseconds; 0: for ever. */
  readonly delayMs: number;
  /** How many samples must have been late, without one in time in between: a burst that is soon over is no overload. */
  readonly lateSamples: number;
}

/**
 * Turns of the event loop are late above this share of the delay, and in time below the other one, at which rationing aims.
 *
 * A call waits for three turns, and one in a hundred for six, with what the collector of garbage takes. So rationing begins when the
 * delay is nearly reached, and keeps it at half of it. Measured: 64 callers that wait for each answer make turns of 3 to 5 ms.
 */
const LATE = 1 / 8;
const AIM = 1 / 16;
/** The shortest ration, as a share of the delay; the first call of a turn is let in in any case. */
const LEAST = 1 / 200;
/** By how much a ration changes at most from one sample to the next. */
const STEP = 2;
/** Rationing ends when no more than this share of calls was refused in so many samples, none of them late. */
const QUIET = 0.02;
const QUIET_SAMPLES = 4;

/**
 * Tells which calls of a turn of the event loop are let in while its turns are too long: those that come in its first milliseconds.
 *
 * As many milliseconds as make turns of the length that is aimed at. A ration that is longer than what comes refuses nobody, and
 * so rationing ends.
 */
export class Ration {
  /** For how long callers of the first class are let in in each turn; undefined: all the time. */
  #ms: number | undefined;
  #lateSamples = 0;
  #quietSamples = 0;
  #asked = 0;
  #refused = 0;

  get isOn(): boolean {
    return this.#ms !== undefined;
  }

  /** Take note of how long a turn took, on average, since the sample before. */
  sample(turnMs: number, { delayMs, lateSamples }: RationOptions): void {
    if (delayMs === 0) this.#end();
    else if (this.#ms !== undefined) this.#adapt(this.#ms, turnMs, delayMs);
    else {
      if (turnMs > LATE * delayMs) this.#lateSamples++;
      else if (turnMs < AIM * delayMs) this.#lateSamples = 0;
      if (this.#lateSamples >= lateSamples) this.#ms = (AIM * delayMs) / 2;
    }
    this.#asked = 0;
    this.#refused = 0;
  }

  /** Whether a call of this class is refused that comes so late in a turn. Each class has as long again as the one below it. */
  refuses(rank: number, intoTurnMs: number): boolean {
    if (this.#ms === undefined) return false;
    this.#asked++;
    if (intoTurnMs <= this.#ms * (rank + 1)) return false;
    this.#refused++;
    return true;
  }

  #adapt(ms: number, turnMs: number, delayMs: number): void {
    const change = Math.min(STEP, Math.max(1 / STEP, (AIM * delayMs) / turnMs));
    this.#ms = Math.min(LATE * delayMs, Math.max(LEAST * delayMs, ms * change));
    const isQuiet = turnMs <= LATE * delayMs && this.#refused <= QUIET * this.#asked;
    this.#quietSamples = isQuiet ? this.#quietSamples + 1 : 0;
    if (this.#quietSamples >= QUIET_SAMPLES) this.#end();
  }

  #end(): void {
    this.#ms = undefined;
    this.#lateSamples = 0;
    this.#quietSamples = 0;
  }
}
