import { setTimeout as pause } from 'node:timers/promises';
import type { Principal } from '../completion.ts';
import type { GatewayError } from '../errors.ts';
import type { ShedCounts } from '../telemetry/shed-counts.ts';
import type { InFlight } from './in-flight.ts';
import type { Overload } from './overload.ts';

/** What calls are let in by before anything of them is read. */
export interface ArrivalsOptions {
  readonly inFlight: InFlight;
  readonly overload: Overload;
  /** Classes of callers by tier, from 0; the lower ones are refused first. A tier that is not here is of class 0. */
  readonly ranks: ReadonlyMap<string, number>;
  readonly counts: ShedCounts;
  /** How many refusals are held back at once; more are told at once. */
  readonly mostHeld: number;
  /** For how long, in milliseconds; the default value is one second to two. */
  readonly holdMs?: () => number;
}

/**
 * Lets a call of somebody in, or throws `overloaded`; returns what is to be done once its request has been read.
 *
 * A promise never resolves: it rejects with `overloaded` in a while.
 */
export type Arrive = (principal: Principal) => (() => void) | Promise<never>;

/** The share of all places that each class leaves to those above it. */
const RESERVE = 0.1;

/**
 * Let calls in before their bodies are read, as long as there is room and not too much to do.
 *
 * - Each class of callers finds some places taken that those above it still have.
 * - While the event loop is late a refusal is told late. Callers who come again as soon as they are answered would otherwise come some
 *   hundred times a second each, and refusing them takes all there is: at twice the callers of the peak, a third of its goodput was
 *   left. Not all after the same time: those refused together would come again together.
 */
export function arrivals(options: ArrivalsOptions): Arrive {
  const { inFlight, overload, ranks, counts, mostHeld, holdMs = usualHoldMs } = options;
  let held = 0;
  const hold = async (refusal: GatewayError, told: (() => void) | undefined): Promise<never> => {
    held++;
    await pause(holdMs());
    held--;
    told?.();
    throw refusal;
  };
  const top = Math.max(0, ...ranks.values());
  return ({ tier }) => {
    const rank = ranks.get(tier) ?? 0;
    const limit = Math.ceil(inFlight.limit * (1 - RESERVE * (top - rank)));
    const refusal = overload.refusal(rank);
    if (refusal) counts.overload++;
    else if (inFlight.hasRoom(limit)) return inFlight.arrive();
    else counts.inFlight++;
    const error = refusal ?? inFlight.tooMany(limit);
    // Whoever waits takes memory, and a connection.
    if (!overload.isLate || overload.isFull(rank) || held >= mostHeld) throw error;
    return hold(error, refusal && overload.hold());
  };
}

function usualHoldMs(): number {
  return 1000 + 1000 * Math.random();
}

/** Classes of the tiers that callers have: `default` first, whatever it allows, then those that may do least. */
export function ranksOf(tiers: readonly { readonly name: string; readonly capacity: number }[]): Map<string, number> {
  const sizeOf = ({ name, capacity }: (typeof tiers)[number]) => (name === 'default' ? 0 : capacity);
  const sizes = [...new Set(tiers.map(sizeOf))].sort((a, b) => a - b);
  return new Map(tiers.map((tier) => [tier.name, sizes.indexOf(sizeOf(tier))]));
}
