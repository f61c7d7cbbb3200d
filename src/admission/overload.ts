import { GatewayError } from '../errors.ts';

/** How busy the process is, over the last moment. */
export interface Load {
  /** How late the event loop came at worst, in milliseconds. */
  readonly loopDelayMs: number;
  /** The share of memory in use, 0 to 1: of the heap or of the container, whichever is fuller. */
  readonly memoryShare: number;
}

/** Bounds beyond which there is too much to do. */
export interface OverloadOptions {
  /** Delay of the event loop above which calls are refused, in milliseconds; 0: any. */
  readonly loopDelayMs: number;
  /** How many samples must have been late, without one in time in between: a burst that is soon over is no overload. */
  readonly lateSamples: number;
  /** Share of memory above which nothing more is cached. */
  readonly stopCachingAt: number;
  /** Share of memory above which calls are refused; 1: any. */
  readonly refuseAt: number;
  /** How many classes of callers there are. The first one is refused first. */
  readonly ranks: number;
  /** Milliseconds since the first call that came in this turn of the event loop. */
  readonly turnMs: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
}

/**
 * How long calls of the first class are let in for in each turn of the loop, in milliseconds; of each class above it, as long again.
 *
 * Measured at twice the load that one core bears: with 15 the core is at work on calls it has let in for five sixths of the time,
 * and turns are short enough for answers to come as soon as at the peak.
 */
const RATION_MS = 15;
/** Rationing ends when nobody was refused in so many samples. */
const QUIET = 4;
/** Where the loop is late in spite of that for so many more samples in a row, it is not for the calls that come. */
const IN_VAIN = 4;
/** By how much the share of refused calls then grows with each late sample, for one class after the other. */
const STEP = 0.1;
/** What is left of it after each sample in which the loop was in time again. */
const DECAY = 0.5;
/** The loop is in time again below this share of the bound, and memory suffices this far below its bounds. */
const CALM = 0.5;
const MEMORY_CALM = 0.05;
/** Less is nothing. */
const LEAST = 0.02;

/**
 * Decides which calls are refused because there is too much to do.
 *
 * - A late event loop: calls are rationed. What comes in the first milliseconds of a turn of the loop is let in, the rest is
 *   refused, as long as there is anything to refuse. A share that follows how late the loop is would come too late itself, either
 *   way: a second's backlog is as much as a second's work.
 * - A loop that is late all the same, such as for the streams that are under way: each late sample refuses a tenth more of the
 *   first class, then of the next. Samples between half the bound and the bound change nothing; below, what is refused halves.
 * - Memory: above its bound everything of the first class is refused; the classes above it follow on the rest of the way to
 *   full. It is well again a little below the bound.
 *
 * The clock and what is measured are the caller's: see `watchLoad`.
 */
export class Overload {
  #options: OverloadOptions;
  #lateSamples = 0;
  #lateInVain = 0;
  #isRationing = false;
  #quietSamples = 0;
  #refused = 0;
  /** 0: nobody is refused; 1: the first class is; 2: the second one is, too. */
  #pressure = 0;
  #memoryShare = 0;
  #mayCache = true;
  readonly #isFull: boolean[] = [];

  constructor(options: OverloadOptions) {
    this.#options = options;
  }

  /** Go by other bounds from now on. */
  configure(options: Partial<OverloadOptions>): void {
    this.#options = { ...this.#options, ...options };
  }

  /** Take note of the load, at regular times. */
  sample({ loopDelayMs, memoryShare }: Load): void {
    this.#judgeLoop(loopDelayMs);
    this.#judgeMemory(memoryShare);
  }

  /** Whether there is memory for more answers in the cache. */
  get mayCache(): boolean {
    return this.#mayCache;
  }

  /** Whether any call may be refused: while none is, nobody need look any further. */
  get isOn(): boolean {
    return this.#isRationing || this.#pressure > 0 || this.#isFull[0] === true;
  }

  /** The share of calls of a class that is refused at any moment of a turn, 0 to 1. */
  refusedShare(rank: number): number {
    if (this.#isFull[rank]) return 1;
    return Math.min(1, Math.max(0, this.#pressure - rank));
  }

  /** Why a call of this class is refused; undefined: it is not. */
  refusal(rank: number): GatewayError | undefined {
    if (!this.isOn) return undefined;
    const { random, turnMs } = this.#options;
    const share = this.refusedShare(rank);
    const isLate = this.#isRationing && turnMs() > RATION_MS * (rank + 1);
    if (!isLate && (share === 0 || random() >= share)) return undefined;
    this.#refused++;
    const message = this.#isFull[rank]
      ? `the gateway is out of memory: ${Math.round(this.#memoryShare * 100)} % is in use`
      : 'the gateway has more to do than it can';
    return overloaded(message, random);
  }

  #judgeLoop(delayMs: number): void {
    const { loopDelayMs: bound, lateSamples, ranks } = this.#options;
    if (bound === 0) return;
    const isLate = delayMs > bound;
    this.#quietSamples = isLate || this.#refused > 0 ? 0 : this.#quietSamples + 1;
    this.#refused = 0;
    if (this.#quietSamples >= QUIET) this.#isRationing = false;
    if (isLate) {
      this.#lateSamples++;
      // Those that made it begin are not in vain.
      if (this.#isRationing && ++this.#lateInVain >= IN_VAIN) this.#pressure = Math.min(ranks, this.#pressure + STEP);
      if (this.#lateSamples >= lateSamples) this.#isRationing = true;
      return;
    }
    this.#lateInVain = 0;
    if (delayMs > bound * CALM) return;
    this.#lateSamples = 0;
    this.#pressure *= DECAY;
    if (this.#pressure < LEAST) this.#pressure = 0;
  }

  #judgeMemory(share: number): void {
    const { stopCachingAt, refuseAt, ranks } = this.#options;
    this.#memoryShare = share;
    this.#mayCache = this.#mayCache ? share < stopCachingAt : share < stopCachingAt - MEMORY_CALM;
    if (refuseAt >= 1) return;
    for (let rank = 0; rank < ranks; rank++) {
      const bound = refuseAt + ((1 - refuseAt) * rank) / ranks;
      this.#isFull[rank] = share >= (this.#isFull[rank] ? bound - MEMORY_CALM : bound);
    }
  }
}

/**
 * An error that asks to come again in one to three seconds, not all at once.
 *
 * It has no stack: that would be a fourth of what a refusal takes, when there is least to spare, and tell nothing.
 */
export function overloaded(message: string, random: () => number): GatewayError {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return new GatewayError('overloaded', message, { retryAfterMs: 1000 * (1 + Math.floor(3 * random())) });
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}
