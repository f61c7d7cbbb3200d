/** What calls are rationed by. */
export interface RationOptions {
  /** What a call may wait for the event loop, over all the turns that it needs, in milliseconds; 0: for ever. */
  readonly delayMs: number;
  /** How many samples must have been late, without one in time in between: a burst that is soon over is no overload. */
  readonly lateSamples: number;
  /** How many callers have been refused and not been told yet. They will come again. */
  readonly held: number;
}

/**
 * Turns of the event loop are late above this share of the delay, and in time below the other one.
 *
 * A call waits for three turns, and one in a hundred for six, with what the collector of garbage takes. So rationing begins when the
 * delay is nearly reached. Measured: 64 callers that wait for each answer make turns of 2 to 5 ms.
 */
const LATE = 1 / 8;
const IN_TIME = 1 / 16;
/**
 * Where rationing keeps turns: far below what is late, for the more calls are under way, the more each takes. What 256 calls hold
 * outlives the collector's young generation and makes a call a tenth dearer than with 64; with 2000 it takes twice as much.
 */
const AIM = 1 / 64;
/** The first ration, as a share of the delay. */
const FIRST = 1 / 32;
/** The shortest ration, as a share of the delay. */
const LEAST = 1 / 200;
/**
 * The calls of each turn that are let in in any case. Where a turn is long although no more come, it is not for them, but for streams
 * under way, say. Rationing would go on for ever in a state that it would never have begun in.
 */
const FIRST_CALLS = 8;
/** By how much a ration changes at most from one sample to the next. */
const STEP = 2;
/**
 * Rationing ends when no more than the first share of calls was refused over so many samples, none of them late, and no more than the
 * second share still waits for refusals: as many as come back in that time.
 */
const QUIET = 0.02;
const QUIET_HELD = 0.03;
const PERIOD_SAMPLES = 4;

/**
 * Tells which calls of a turn of the event loop are let in while its turns are too long: those that come in its first milliseconds.
 *
 * As many milliseconds as make turns of the length that is aimed at. A ration that is longer than what comes refuses nobody, and
 * so rationing ends.
 */
export class Ration {
  /** For how long callers of the first class are let in in each turn; undefined: all the time. */
  #ms: number | undefined;
  /** Without one in time in between, before rationing. */
  #lateSamples = 0;
  #periodSamples = 0;
  #lateInPeriod = 0;
  /** Calls that came in this turn. */
  #inTurn = 0;
  /** Calls in this period. */
  #asked = 0;
  #refused = 0;

  get isOn(): boolean {
    return this.#ms !== undefined;
  }

  /** Whether turns are late, or were and nobody knows yet whether they still are. */
  get isLate(): boolean {
    return this.isOn || this.#lateSamples > 0;
  }

  /** Take note of how long a turn took, on average, since the sample before. */
  sample(turnMs: number, { delayMs, lateSamples, held }: RationOptions): void {
    if (delayMs === 0) this.#end();
    else if (this.#ms !== undefined) this.#adapt(this.#ms, turnMs, delayMs, held);
    else {
      if (turnMs > LATE * delayMs) this.#lateSamples++;
      else if (turnMs < IN_TIME * delayMs) this.#lateSamples = 0;
      if (this.#lateSamples >= lateSamples) this.#begin(FIRST * delayMs);
    }
  }

  /**
   * Whether a call of this class is refused that comes so long after the first one of its turn. Each class has as long again as the one
   * below it.
   */
  refuses(rank: number, intoTurnMs: number): boolean {
    if (this.#ms === undefined) return false;
    this.#asked++;
    this.#inTurn = intoTurnMs === 0 ? 1 : this.#inTurn + 1;
    if (this.#inTurn <= FIRST_CALLS || intoTurnMs <= this.#ms * (rank + 1)) return false;
    this.#refused++;
    return true;
  }

  #adapt(ms: number, turnMs: number, delayMs: number, held: number): void {
    const change = Math.min(STEP, Math.max(1 / STEP, (AIM * delayMs) / turnMs));
    this.#ms = Math.min(LATE * delayMs, Math.max(LEAST * delayMs, ms * change));
    if (turnMs > LATE * delayMs) this.#lateInPeriod++;
    if (++this.#periodSamples < PERIOD_SAMPLES) return;
    const isQuiet = this.#refused <= QUIET * this.#asked && held <= QUIET_HELD * this.#asked;
    if (this.#lateInPeriod === 0 && isQuiet) this.#end();
    else this.#beginPeriod();
  }

  #begin(ms: number): void {
    this.#ms = ms;
    this.#beginPeriod();
  }

  #end(): void {
    this.#ms = undefined;
    this.#lateSamples = 0;
  }

  #beginPeriod(): void {
    this.#lateInPeriod = 0;
    this.#periodSamples = 0;
    this.#asked = 0;
    this.#refused = 0;
  }
}
