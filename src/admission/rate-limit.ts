import type { CallContext, Layer } from '../completion.ts';
import { Later } from '../later.ts';
import type { LimitStore, Taken, Used } from '../store/store.ts';
import { nanoUsd } from './budget.ts';
import type { Demand, Reserve } from './call-limits.ts';
import type { Leases } from './leases.ts';
import { refusalOf } from './refusal.ts';
import { usageOf, usdOf } from './used.ts';

/** What calls are limited with. */
export interface LimitCallsOptions<Request> {
  readonly store: LimitStore;
  readonly demandOf: (request: Request, context: CallContext) => Demand | Promise<Demand>;
  readonly leases: Leases;
}

/**
 * Let a call in if all of its limits have room for it, and settle what it has used once it is over.
 *
 * - Calls, slots, tokens and money are taken in one step of the store, or nothing is.
 * - However the call ends its slot is free again, and its reservation gives way to what it used; nobody waits for that.
 * - Where the store answers at once, so does this: a call costs no turn of the event loop.
 */
export function limitCalls<Request, Event>(options: LimitCallsOptions<Request>): Layer<Request, Event> {
  const { store, demandOf, leases } = options;

  const enter = (demand: Demand, context: CallContext): void | Promise<void> => {
    if (demand.limits.length === 0) return;
    const taken = store.take(demand.limits);
    return taken instanceof Promise
      ? taken.then((known) => admit(known, demand, context))
      : admit(taken, demand, context);
  };

  const admit = (taken: Taken, { reserve }: Demand, context: CallContext): void => {
    const { account } = context;
    account.limits = taken.standings;
    if (!taken.admitted) {
      account.waitMs = taken.waitMs;
      throw refusalOf(taken, context);
    }
    const { reservation } = taken;
    if (reservation === undefined) return;
    leases.begin(reservation);
    context.ends.push(() => {
      leases.end(reservation);
      store.settle(reservation, reserve ? usedBy(context, reserve) : NOTHING);
    });
  };

  return (next) => (request, context) => {
    const demand = demandOf(request, context);
    const entered = demand instanceof Promise ? demand.then((known) => enter(known, context)) : enter(demand, context);
    if (entered === undefined) return next(request, context);
    return new Later(
      entered.then(() => {
        context.signal.throwIfAborted();
        return next(request, context) as AsyncIterable<Event, undefined>;
      }),
    );
  };
}

const NOTHING: Used = { tokens: 0, nanoUsd: 0 };

/** A call whose cost is unknown in the end has cost what was reserved. */
function usedBy({ account }: CallContext, reserve: Reserve): Used {
  const usage = usageOf(account, reserve.promptTokens);
  if (usage === undefined) return NOTHING;
  const usd = usdOf(account, usage) ?? reserve.usd ?? 0;
  return { tokens: usage.promptTokens + usage.completionTokens, nanoUsd: nanoUsd(usd) };
}
