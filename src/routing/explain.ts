import type { ExplainedTarget, ExplainRouteResponse } from '../../gen/llmgateway/v1/admin_service_pb.ts';
import { type CompletionRequest, RoutingStrategy } from '../../gen/llmgateway/v1/completion_pb.ts';
import type { CircuitState } from '../../gen/llmgateway/v1/provider_pb.ts';
import type { Principal } from '../completion.ts';
import { GatewayError, type Reason } from '../errors.ts';
import type { Target } from '../providers/target.ts';
import { durationOf } from '../time.ts';
import { type Need, needOf } from './need.ts';
import type { Observations } from './observations.ts';
import type { Candidate } from './resolve.ts';
import type { Resolved, Router, WhyLeftOut } from './router.ts';
import { estimatedUsd } from './strategies.ts';

/** Why no call may go to a target at this moment. */
export interface Closed {
  readonly why: 'circuit_open' | 'rate_limited' | 'unavailable';
  /** When one may, in milliseconds from now; undefined: nobody knows. */
  readonly retryAfterMs: number | undefined;
  /** Whether only a place is missing, for which a call would wait. */
  readonly busy: boolean;
  /** For people. */
  readonly words: string;
}

/** What an explanation is made with. */
export interface ExplainParts {
  readonly router: Router;
  readonly observations: Observations;
  /** Undefined: a call may go there. */
  readonly refusalOf: (target: Target) => Closed | undefined;
  readonly circuitStateOf: (target: Target) => CircuitState;
  /** The word that a call fails with when nobody may be asked. */
  readonly failureOf: (refused: readonly { readonly target: Target; readonly refusal: Closed }[]) => Reason;
}

/** Who asks, and how. */
export interface Asker {
  readonly principal: Principal;
  /** Whether the call would be streamed: latencies of the two kinds are told apart. */
  readonly streaming: boolean;
}

/**
 * Tells where a call would go and why, by the functions that a call goes through, and sends nothing.
 *
 * What is wrong with the request itself, such as an unknown model, is thrown as it is for a call. Where the request is right and
 * nobody can take it now, that is what the answer tells.
 */
export async function explain(
  request: CompletionRequest,
  asker: Asker,
  parts: ExplainParts,
): Promise<ExplainRouteResponse> {
  const { router, refusalOf } = parts;
  const { streaming } = asker;
  const left: { candidate: Candidate; why: WhyLeftOut }[] = [];
  const leaveOut = (candidate: Candidate, why: WhyLeftOut) => void left.push({ candidate, why });
  const { route, strategy, fallback } = router.wishOf(request);
  const resolved = await resolveAsCallsDo(request, asker, router, leaveOut);
  const admits = (target: Target) => refusalOf(target) === undefined;
  const ordered = resolved ? router.order(resolved, request, { streaming, admits, leaveOut, dry: true }) : [];

  const words = new Wording(request, asker, parts, resolved);
  const usable = ordered.filter(admits);
  const refused = ordered.flatMap((target) => {
    const refusal = refusalOf(target);
    return refusal ? [{ target, refusal }] : [];
  });
  return {
    $typeName: 'llmgateway.v1.ExplainRouteResponse',
    route: route?.model ?? '',
    strategy,
    fallback,
    targets: [
      ...usable.map((target, at) => words.usable(target, at + 1)),
      ...refused.map(({ target, refusal }) => words.refused(target, refusal)),
      ...left.map(({ candidate, why }) => words.leftOut(candidate, router.targetOf(candidate, request, route), why)),
    ],
    estimatedPromptTokens: words.need.promptTokens,
    failure: failure(),
  };

  function failure(): string {
    if (!resolved) return 'no_provider_available';
    // For a place a call waits a moment, so that it need not fail.
    return usable.length > 0 || refused.some(({ refusal }) => refusal.busy) ? '' : parts.failureOf(refused);
  }
}

/** Undefined: the name leads somewhere, but nobody is there. */
async function resolveAsCallsDo(
  request: CompletionRequest,
  { principal }: Asker,
  router: Router,
  leaveOut: (candidate: Candidate, why: WhyLeftOut) => void,
): Promise<Resolved | undefined> {
  try {
    // A name that nobody is known to have is looked up first, as for a call.
    await router.resolve(request, principal);
  } catch (error) {
    if (!isNobodyThere(error)) throw error;
  }
  try {
    return router.resolveNow(request, principal, leaveOut);
  } catch (error) {
    if (!isNobodyThere(error)) throw error;
    return undefined;
  }
}

function isNobodyThere(error: unknown): boolean {
  return error instanceof GatewayError && error.reason === 'no_provider_available';
}

/** Puts targets into the words of the contract. */
class Wording {
  readonly need: Need;
  readonly #asker: Asker;
  readonly #parts: ExplainParts;
  readonly #resolved: Resolved | undefined;

  constructor(request: CompletionRequest, asker: Asker, parts: ExplainParts, resolved: Resolved | undefined) {
    this.need = needOf(request);
    this.#asker = asker;
    this.#parts = parts;
    this.#resolved = resolved;
  }

  usable(target: Target, position: number): ExplainedTarget {
    return this.#explained(target, { position, explanation: this.#place(target, position) });
  }

  refused(target: Target, { why, words, retryAfterMs }: Closed): ExplainedTarget {
    return this.#explained(target, {
      leftOut: why,
      explanation: words,
      ...(retryAfterMs !== undefined && { retryAfter: durationOf(retryAfterMs) }),
    });
  }

  leftOut({ provider }: Candidate, target: Target, why: WhyLeftOut): ExplainedTarget {
    return this.#explained(target, { leftOut: why, explanation: this.#missing(provider.unavailable, target, why) });
  }

  #explained(target: Target, more: Partial<ExplainedTarget>): ExplainedTarget {
    const { provider, model, weight, quality, contextWindow } = target;
    const latencyMs = this.#latencyMs(target);
    const usd = estimatedUsd(target, this.need);
    return {
      $typeName: 'llmgateway.v1.ExplainedTarget',
      provider: provider.name,
      model,
      position: 0,
      leftOut: '',
      explanation: '',
      weight,
      circuitState: this.#parts.circuitStateOf(target),
      ...(latencyMs !== undefined && { latency: durationOf(latencyMs) }),
      ...(usd !== undefined && { estimatedUsd: usd }),
      ...(quality !== undefined && { quality }),
      ...(contextWindow !== undefined && { contextWindow }),
      ...more,
    };
  }

  #latencyMs({ provider, model }: Target): number | undefined {
    return this.#parts.observations.ofTarget(provider.name, model).latencyMs(this.#asker.streaming);
  }

  #place(target: Target, position: number): string {
    const { preferred, strategy } = this.#resolved ?? {};
    if (preferred === target.provider.name) return 'the call prefers its provider';
    switch (strategy) {
      case RoutingStrategy.ROUND_ROBIN:
        return position === 1 ? 'it is its turn' : 'it waits for its turn';
      case RoutingStrategy.LEAST_LATENCY: {
        const latencyMs = this.#latencyMs(target);
        return latencyMs === undefined
          ? 'it was not called lately, and is tried out'
          : `it takes about ${Math.round(latencyMs)} ms to begin`;
      }
      case RoutingStrategy.LOWEST_COST: {
        const usd = estimatedUsd(target, this.need);
        return usd === undefined ? 'its price is unknown' : `the call would cost about ${usd} USD there`;
      }
      case RoutingStrategy.HIGHEST_QUALITY:
        return target.quality === undefined ? 'its quality is unknown' : `its quality is ${target.quality}`;
      case RoutingStrategy.RANDOM:
        return `drawn by its weight of ${target.weight}; each call draws anew`;
      default:
        return 'it stands there in the configured order';
    }
  }

  #missing(unavailable: string | undefined, target: Target, why: WhyLeftOut): string {
    const { windowTokens, outputTokens = 0 } = this.need;
    switch (why) {
      case 'not_permitted':
        return `the key "${this.#asker.principal.name}" may not use it`;
      case 'unavailable':
        return unavailable ?? 'it is not there';
      case 'fallback_off':
        return 'no other target may follow the first one';
      case 'window_too_small':
        return `the call needs about ${windowTokens + outputTokens} tokens, and its window has ${target.contextWindow}`;
      case 'lacks_capability': {
        const lacking = (['tools', 'vision', 'jsonSchema'] as const).filter(
          (capability) => this.need[capability] && target.capabilities?.[capability] === false,
        );
        return `it cannot do what the call asks for: ${lacking.join(', ').replace('jsonSchema', 'json_schema')}`;
      }
    }
  }
}
