import type { CallContext, Layer } from '../completion.ts';
import type { UsageStore } from '../store/store.ts';
import { nanoUsd } from './budget.ts';
import { usageOf, usdOf } from './used.ts';

/** What usage is counted with. */
export interface CountUsageOptions<Request> {
  readonly store: UsageStore;
  /** Estimated; asked only for answers that were cut. */
  readonly promptTokensOf: (request: Request) => number;
  /** Today, in UTC. */
  readonly day: () => string;
}

/** Count what each call that was let in has used, by its key and who answered. */
export function countUsage<Request, Event>(options: CountUsageOptions<Request>): Layer<Request, Event> {
  const { store, promptTokensOf, day } = options;
  const count = (request: Request, { principal, account }: CallContext): void => {
    const isCut = account.whole !== true && account.characters !== undefined;
    const usage = usageOf(account, isCut ? promptTokensOf(request) : 0);
    const usd = usage && usdOf(account, usage);
    store.add({
      day: day(),
      key: principal.name,
      provider: account.answered?.provider ?? '',
      model: account.answered?.model ?? '',
      calls: 1,
      failedCalls: account.whole ? 0 : 1,
      promptTokens: usage?.promptTokens ?? 0,
      completionTokens: usage?.completionTokens ?? 0,
      cachedPromptTokens: usage?.cachedPromptTokens ?? 0,
      cacheWritePromptTokens: usage?.cacheWritePromptTokens ?? 0,
      reasoningTokens: usage?.reasoningTokens ?? 0,
      nanoUsd: usd === undefined ? 0 : nanoUsd(usd),
      unpricedCalls: usage !== undefined && usd === undefined ? 1 : 0,
    });
  };
  return (next) => (request, context) => {
    context.ends.push(() => count(request, context));
    return next(request, context);
  };
}
