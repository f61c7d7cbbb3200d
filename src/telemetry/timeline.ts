import { type PackedSketch, Sketch } from './sketch.ts';
import { type Ending, Tally } from './tally.ts';

/** Minutes of a coarse stretch. */
const STRETCH = 10;
/** Single minutes are kept for an hour, and until the stretch that the hour began in is over. */
const MINUTES = 60 + STRETCH;
/** Stretches of a day, the one that it began in, and the one after it. */
const STRETCHES = 1440 / STRETCH + 2;

/** Counts of a stretch, and the minute that it began with. */
interface Kept {
  readonly from: number;
  readonly tally: Tally;
}

/** Where the sum over a window is made. */
export interface Sum {
  readonly tally: Tally;
  readonly durations: Sketch;
  readonly firstTokens: Sketch;
}

/** The stretch that a minute is in: its first minute. */
export function stretchOf(minute: number): number {
  return minute - (minute % STRETCH);
}

/** The first minute that a window which ends with this one, and should begin with that one, really has. */
export function firstMinute(from: number, minute: number): number {
  return from < finest(minute) ? stretchOf(from) : from;
}

/** The minute from which on single ones are read: an hour back at least. */
function finest(minute: number): number {
  return stretchOf(minute - 60);
}

const scratch = { durations: new Sketch(), firstTokens: new Sketch() };

/**
 * What happened to one thing over the last day: single minutes for the last hour, stretches of ten before it.
 *
 * The minute that is being written to has open sketches; later they are packed. So a day takes as much as its values are spread,
 * and no more when there are more of them.
 */
export class Timeline {
  #minute = 0;
  #open = new Tally();
  readonly #durations = new Sketch();
  readonly #firstTokens = new Sketch();
  readonly #minutes = new Array<Kept | undefined>(MINUTES);
  readonly #stretches = new Array<Kept | undefined>(STRETCHES);

  /** The last minute that something happened in. */
  lastMinute = 0;

  add(minute: number, ending: Ending): void {
    const tally = this.openAt(minute);
    tally.add(ending);
    if (ending.outcome === 'ok') this.#durations.add(ending.durationMs);
    if (ending.firstTokenMs !== undefined) this.#firstTokens.add(ending.firstTokenMs);
  }

  /** The counts of this minute, for what is no ending of a call. */
  openAt(minute: number): Tally {
    if (minute > this.#minute) this.#turn(minute);
    this.lastMinute = minute;
    return this.#open;
  }

  /** Add up what happened from a minute on, to the end of this minute. */
  sum(from: number, minute: number, into: Sum): void {
    if (minute > this.#minute) this.#turn(minute);
    const first = firstMinute(from, minute);
    const fine = Math.max(first, finest(minute));
    for (const kept of this.#stretches) if (kept && kept.from >= first && kept.from < fine) addUp(kept.tally, into);
    for (const kept of this.#minutes) if (kept && kept.from >= fine) addUp(kept.tally, into);
    into.tally.merge(this.#open);
    into.durations.merge(this.#durations);
    into.firstTokens.merge(this.#firstTokens);
  }

  /** Put the open minute away and begin another. */
  #turn(minute: number): void {
    const before = this.#minute;
    this.#minute = minute;
    if (this.#open.requests > 0 || this.#open.circuitsOpened > 0) {
      this.#open.durations = packed(this.#durations);
      this.#open.firstTokens = packed(this.#firstTokens);
      this.#minutes[before % MINUTES] = { from: before, tally: this.#open };
      this.#open = new Tally();
    }
    if (stretchOf(minute) !== stretchOf(before)) this.#closeStretch(stretchOf(before));
  }

  #closeStretch(from: number): void {
    const minutes = this.#minutes.filter((kept) => kept && stretchOf(kept.from) === from);
    if (minutes.length === 0) return;
    const sum: Sum = { tally: new Tally(), ...scratch };
    for (const kept of minutes) if (kept) addUp(kept.tally, sum);
    sum.tally.durations = packed(sum.durations);
    sum.tally.firstTokens = packed(sum.firstTokens);
    this.#stretches[(from / STRETCH) % STRETCHES] = { from, tally: sum.tally };
  }
}

function addUp(tally: Tally, into: Sum): void {
  into.tally.merge(tally);
  if (tally.durations) into.durations.merge(tally.durations);
  if (tally.firstTokens) into.firstTokens.merge(tally.firstTokens);
}

/** What a sketch has, and the sketch empty again. */
function packed(sketch: Sketch): PackedSketch | undefined {
  if (sketch.count === 0) return undefined;
  const words = sketch.pack();
  sketch.clear();
  return words;
}
