import { Sketch } from './sketch.ts';
import { type Spread, Tally } from './tally.ts';
import { firstMinute, type Sum, stretchOf, Timeline } from './timeline.ts';

const MINUTE_MS = 60_000;
const DAY_MINUTES = 1440;
/** Pairs of provider and model that are told apart; what comes later is counted together. */
const MOST_PAIRS = 500;

/** What stands in place of names that are not told apart. */
export const OTHER = 'other';

/** How long things took, in milliseconds; all but `count` are undefined where it is 0. */
export interface Times {
  readonly count: number;
  readonly mean: number | undefined;
  readonly least: number | undefined;
  readonly most: number | undefined;
  readonly p50: number | undefined;
  readonly p95: number | undefined;
  readonly p99: number | undefined;
}

/** What happened within a window. */
export interface Summary {
  readonly tally: Tally;
  /** Of what succeeded. */
  readonly duration: Times;
  /** Of streams. */
  readonly firstToken: Times;
}

/** The last minutes, as they are looked at. */
export interface Window {
  /** What the window really has: it begins with a whole minute, more than an hour ago with ten, and not before the start. */
  readonly coveredMs: number;
  /** The calls as callers saw them. */
  calls(): Summary;
  /** The attempts at a provider, or at one of its models. */
  attempts(provider: string, model?: string): Summary;
  /** The providers and models that there were attempts at, in the order of their names. */
  readonly pairs: readonly { readonly provider: string; readonly model: string }[];
}

/**
 * What happened lately, over any window of up to a day: calls as callers saw them, and attempts by provider and model.
 *
 * `now` is a clock in milliseconds that never goes back.
 */
export class Windows {
  readonly #now: () => number;
  readonly #beganMs: number;
  readonly #calls = new Timeline();
  readonly #pairs = new Map<string, Map<string, Timeline>>();
  #count = 0;
  #sweptAt = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#beganMs = now();
  }

  /** The number of this minute, to be asked once for everything that is counted at a time. */
  minute(): number {
    return Math.floor((this.#now() - this.#beganMs) / MINUTE_MS);
  }

  /** Where calls are counted. */
  get calls(): Timeline {
    return this.#calls;
  }

  /** Where attempts at a provider's model are counted. */
  attempts(provider: string, model: string): Timeline {
    return this.#pairs.get(provider)?.get(model) ?? this.#open(provider, model);
  }

  over(minutes: number): Window {
    const minute = this.minute();
    const first = Math.max(0, firstMinute(minute - minutes, minute));
    const pairs = [...this.#pairs].flatMap(([provider, models]) =>
      [...models].map(([model, timeline]) => ({ provider, model, timeline })),
    );
    const total = (timelines: readonly Timeline[]) => summary(timelines, minute - minutes, minute);
    return {
      coveredMs: this.#now() - this.#beganMs - first * MINUTE_MS,
      calls: () => total([this.#calls]),
      attempts: (provider, model) =>
        total(
          pairs
            .filter((pair) => pair.provider === provider && (model === undefined || pair.model === model))
            .map(({ timeline }) => timeline),
        ),
      pairs: pairs.map(({ provider, model }) => ({ provider, model })).sort(byName),
    };
  }

  #open(provider: string, model: string): Timeline {
    this.#sweep();
    if (this.#count >= MOST_PAIRS && provider !== OTHER) return this.attempts(OTHER, OTHER);
    let models = this.#pairs.get(provider);
    if (!models) {
      models = new Map();
      this.#pairs.set(provider, models);
    }
    const timeline = new Timeline();
    models.set(model, timeline);
    this.#count++;
    return timeline;
  }

  /** Forget the pairs that nothing happened to for a day, now and then. */
  #sweep(): void {
    const minute = this.minute();
    if (stretchOf(minute) === this.#sweptAt) return;
    this.#sweptAt = stretchOf(minute);
    for (const [provider, models] of this.#pairs) {
      for (const [model, timeline] of models) {
        if (timeline.lastMinute >= minute - DAY_MINUTES - 10) continue;
        models.delete(model);
        this.#count--;
      }
      if (models.size === 0) this.#pairs.delete(provider);
    }
  }
}

const accumulators = { durations: new Sketch(), firstTokens: new Sketch() };

function summary(timelines: readonly Timeline[], from: number, minute: number): Summary {
  const sum: Sum = { tally: new Tally(), ...accumulators };
  for (const timeline of timelines) timeline.sum(from, minute, sum);
  const told = {
    tally: sum.tally,
    duration: times(sum.tally.duration, sum.durations),
    firstToken: times(sum.tally.firstToken, sum.firstTokens),
  };
  sum.durations.clear();
  sum.firstTokens.clear();
  return told;
}

function times({ count, sum, least, most }: Spread, sketch: Sketch): Times {
  if (count === 0) {
    return {
      count,
      mean: undefined,
      least: undefined,
      most: undefined,
      p50: undefined,
      p95: undefined,
      p99: undefined,
    };
  }
  const quantile = (share: number) => Math.min(Math.max(sketch.quantile(share) ?? least, least), most);
  return { count, mean: sum / count, least, most, p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) };
}

function byName(one: { provider: string; model: string }, other: { provider: string; model: string }): number {
  return one.provider.localeCompare(other.provider) || one.model.localeCompare(other.model);
}
