import { GatewayError, type Reason } from '../errors.ts';

/** How providers are asked, again and again, whether they are well. */
export interface HealthProbeOptions {
  /** The time between two rounds, on average. */
  readonly intervalMs: number;
  /** One round: ask everybody who was not asked for so many milliseconds. Never fails. */
  readonly ask: (olderThanMs: number) => Promise<void>;
  /** From 0 to below 1. */
  readonly random: () => number;
}

/** Replicas that were started together shall not ask together for ever. */
const jitterShare = 0.1;

/**
 * Ask providers whether they are well, by lists of models, which cost nothing; the result ends it.
 *
 * The first round comes after one interval. The next one is waited for only once a round is over, so that rounds never overlap.
 * Who was asked within half an interval, because somebody wanted to know its models, has already shown how it is.
 */
export function probeHealth({ intervalMs, ask, random }: HealthProbeOptions): () => void {
  let isOver = false;
  let timer: NodeJS.Timeout | undefined;
  const wait = () => {
    if (isOver) return;
    const afterMs = intervalMs * (1 + jitterShare * (2 * random() - 1));
    timer = setTimeout(() => void ask(intervalMs / 2).then(wait), afterMs);
    timer.unref();
  };
  wait();
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}

/**
 * What an answer to the question for models says against a provider; undefined: nothing.
 *
 * A provider that cannot be reached, is silent, answers 5xx or refuses the key is not well. Any other refusal says nothing: not
 * everybody lists models, and a limited one has answered. A list that cannot be read speaks against the list only.
 */
export function verdictOf(error: unknown): Reason | undefined {
  if (error === undefined) return undefined;
  if (error instanceof Error && error.name === 'TimeoutError') return 'provider_timeout';
  const { reason, providerStatus, anotherKey } = GatewayError.from(error);
  // Of several keys only one was refused.
  if (anotherKey) return undefined;
  switch (reason) {
    case 'provider_unavailable':
    case 'provider_timeout':
      return isRefusal(providerStatus) ? undefined : reason;
    case 'provider_misconfigured':
      // Some call a bad key a bad request. Without a status nothing could be sent.
      return providerStatus === undefined || [400, 401, 403].includes(providerStatus) ? reason : undefined;
    default:
      return undefined;
  }
}

function isRefusal(status: number | undefined): boolean {
  return status !== undefined && status >= 400 && status < 500;
}
