import { Guarantee, RoutingStrategy, RoutingStrategySchema } from '../../gen/llmgateway/v1/completion_pb.ts';
import {
  type Config,
  type ProviderConfig,
  ProviderKind,
  type RouteConfig,
  type TargetConfig,
} from '../../gen/llmgateway/v1/config_pb.ts';
import { formatDuration as format } from './durations.ts';
import { wordOf } from './words.ts';

/** Say what binds the calls of each route, and of the models that no route names. */
export function describeRoutes(config: Config): string[] {
  return [...config.routes.flatMap((route) => describeRoute(route, config)), ...describeRest(config)];
}

function describeRoute(route: RouteConfig, config: Config): string[] {
  const strategy = route.strategy || config.routing?.defaultStrategy || 0;
  const { cache, retry, timeouts, hedge } = route;
  const attempts = retry?.attempts ?? config.retry?.attempts ?? 1;
  const perTarget = retry?.attemptsPerTarget ?? Math.min(config.retry?.attemptsPerTarget ?? 1, attempts);
  const enabled = cache?.enabled ?? config.cache?.enabled;
  const ttl = cache?.ttl ?? config.cache?.ttl;
  const shares = sharesOf(route, strategy);
  const shared = (cache?.shared ?? config.cache?.shared) ? ', shared by all callers' : '';
  return [
    `${route.model}: ${wordOf(RoutingStrategySchema, strategy)}${mark(route.strategy || undefined)}`,
    ...route.targets.map((target, at) => `  -> ${describeTarget(target, shares[at] ?? '', route, config)}`),
    `  whole call: ${timeouts?.total ? `${format(timeouts.total)} [route]` : wholeCall(config)}`,
    `  attempts: ${perTarget} a target${mark(retry?.attemptsPerTarget)}, ${attempts} in all${mark(retry?.attempts)}`,
    `  cache: ${enabled ? `on, for ${ttl && format(ttl)}${shared}` : 'off'}${mark(cache)}`,
    ...(hedge?.delay ? [`  hedge: one more target after ${format(hedge.delay)} [route]`] : []),
    ...(route.guarantee === Guarantee.BUFFERED ? ['  guarantee: buffered [route]'] : []),
  ];
}

function mark(own: unknown): string {
  return own === undefined ? '' : ' [route]';
}

/** What the weights come to. Under a strategy without shares they count only for calls that ask for one with them. */
function sharesOf({ targets }: RouteConfig, strategy: RoutingStrategy): string[] {
  const hasShares = strategy === RoutingStrategy.ROUND_ROBIN || strategy === RoutingStrategy.RANDOM;
  if (!hasShares && targets.every(({ weight }) => weight === targets[0]?.weight)) return [];
  const total = targets.reduce((sum, { weight = 1 }) => sum + weight, 0);
  return targets.map(({ weight = 1 }) => {
    const share = `${Number(((100 * weight) / total).toFixed(1))} %`;
    return hasShares ? `${share} of the calls` : `${share} where a call asks for round_robin or random`;
  });
}

function describeTarget(
  { provider: name, model }: TargetConfig,
  share: string,
  route: RouteConfig,
  config: Config,
): string {
  const provider = config.providers.find((candidate) => candidate.name === name);
  const asked = model || (route.model.includes('*') ? '*' : provider?.defaultModel) || 'its own model';
  return `${name}/${asked}${share && `, ${share}`}; ${attemptTimeouts(config, provider, route)}`;
}

/** What binds one attempt, with where it comes from: the route, else the provider, else everybody's. */
function attemptTimeouts({ timeouts: general }: Config, provider?: ProviderConfig, route?: RouteConfig): string {
  const slow = provider?.kind === ProviderKind.OLLAMA ? '120s' : '30s, with reasoning 120s';
  const rows = [
    ['connect', 'connect', undefined],
    ['attempt', 'attemptUnary', route?.timeouts?.attemptUnary],
    ['first token', 'firstToken', route?.timeouts?.firstToken],
    ['idle', 'idle', route?.timeouts?.idle],
  ] as const;
  return rows
    .map(([words, field, ofRoute]) => {
      const ofProvider = provider?.timeouts?.[field];
      if (ofRoute) return `${words} ${format(ofRoute)} [route]`;
      if (ofProvider) return `${words} ${format(ofProvider)} [provider]`;
      const ofAll = general?.[field];
      return `${words} ${ofAll ? format(ofAll) : slow}`;
    })
    .join(', ');
}

function wholeCall({ timeouts }: Config): string {
  const { totalUnary, totalStream, totalNative } = timeouts ?? {};
  if (!totalUnary || !totalStream || !totalNative) return 'unlimited';
  return `${format(totalUnary)}, streamed ${format(totalStream)}, at /completion ${format(totalNative)}`;
}

/** What binds the models that no route names. */
function describeRest(config: Config): string[] {
  const { routing, retry, cache } = config;
  return [
    `any other model: ${wordOf(RoutingStrategySchema, routing?.defaultStrategy ?? 0)}, ${routing?.fallback ? 'with' : 'without'} fallback`,
    `  each attempt: ${attemptTimeouts(config)}`,
    `  whole call: ${wholeCall(config)}`,
    `  attempts: ${retry?.attemptsPerTarget} a target, ${retry?.attempts} in all`,
    `  cache: ${cache?.enabled && cache.ttl ? `on, for ${format(cache.ttl)}${cache.shared ? ', shared by all callers' : ''}` : 'off'}`,
  ];
}
