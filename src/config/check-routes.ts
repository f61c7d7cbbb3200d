import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  type Config,
  type ProviderConfig,
  ProviderKind,
  type RetryConfig,
  type RouteConfig,
  type RouteRetryConfig,
} from '../../gen/llmgateway/v1/config_pb.ts';
import { formatDuration } from './durations.ts';
import type { Findings } from './findings.ts';
import { suggest } from './show.ts';

/** Refuse models and routes that contradict each other or name providers that are not there. */
export function checkRoutes(config: Config, switchedOff: ReadonlyMap<string, string>, findings: Findings): void {
  const checkProvider = providerCheck(config, switchedOff, findings);
  const models = new Map<string, string>();
  for (const [index, { id, provider }] of config.models.entries()) {
    const path = `models[${index}]`;
    checkProvider(`${path}.provider`, provider);
    const identity = JSON.stringify([provider, id]);
    const before = models.get(identity);
    if (before)
      findings.refuse(`${path}.id`, `the same provider's ${findings.shown(`${path}.id`, id)} is given by ${before}`);
    else models.set(identity, path);
  }
  const routes = new Map<string, string>();
  for (const [index, route] of config.routes.entries()) {
    const path = `routes[${index}]`;
    findings.refuseTaken(`${path}.model`, route.model, routes);
    for (const [at, target] of route.targets.entries()) {
      checkProvider(`${path}.targets[${at}].provider`, target.provider);
    }
    checkRoute(route, path, config, findings);
  }
}

/** Unknown names are not told while a provider's own name is missing: it may be the one that is meant. */
function providerCheck({ providers }: Config, switchedOff: ReadonlyMap<string, string>, findings: Findings) {
  const names = [...new Set(providers.map(({ name }) => name))];
  const areComplete = !names.includes('') && !findings.isRefused('providers');
  const usable = names.filter((name) => !switchedOff.has(name));
  return (path: string, name: string) => {
    if (name === '' || usable.includes(name) || !areComplete) return;
    const variable = switchedOff.get(name);
    const why = variable ? `; ${variable} switches it off` : suggest(name, usable);
    findings.refuse(path, `unknown provider ${findings.shown(path, name)}${why}`);
  };
}

function checkRoute(route: RouteConfig, path: string, { providers, retry }: Config, findings: Findings): void {
  const stars = route.model.split('*').length - 1;
  if (stars > 1) {
    const shown = findings.shown(`${path}.model`, route.model);
    findings.refuse(`${path}.model`, `must have at most 1 "*", not ${stars} as in ${shown}`);
  }
  for (const [index, target] of route.targets.entries()) {
    const provider = providers.find(({ name }) => name === target.provider);
    // Under a wildcard the target is asked for the very name that the caller used.
    if (target.model !== '' || stars > 0 || !provider || hasModel(provider)) continue;
    const at = `${path}.targets[${index}]`;
    const shown = findings.shown(`${at}.provider`, target.provider);
    findings.refuse(`${at}.model`, `is required: the provider ${shown} has no default_model`);
  }
  if (route.targets.length > 0 && route.targets.every(({ weight }) => weight === 0)) {
    findings.refuse(`${path}.targets`, 'must have at least 1 target with a weight above 0, and all weights are 0');
  }
  checkAttempts(route.retry, retry, `${path}.retry`, findings);
}

/** The demo has a model of its own. */
function hasModel({ defaultModel, kind }: ProviderConfig): boolean {
  return defaultModel !== '' || kind === ProviderKind.DEMO;
}

/** Refuse waits and attempts that go beyond their own bounds. */
export function checkBounds({ retry, breaker, overload }: Config, findings: Findings): void {
  checkAttempts(retry, retry, 'retry', findings);
  const { stopCachingAt = 0, refuseAt = 1 } = overload ?? {};
  if (stopCachingAt > refuseAt && refuseAt > 0) {
    findings.refuse(
      'overload.stop_caching_at',
      `must be at most overload.refuse_at (${refuseAt}), not ${stopCachingAt}`,
    );
  }
  const pairs = [
    ['retry', 'base_delay', retry?.baseDelay, 'max_delay', retry?.maxDelay],
    ['breaker', 'open_for', breaker?.openFor, 'max_open_for', breaker?.maxOpenFor],
  ] as const;
  for (const [section, name, value, boundName, bound] of pairs) {
    if (!value || !bound || durationMs(value) <= durationMs(bound)) continue;
    const limit = `${section}.${boundName} (${formatDuration(bound)})`;
    findings.refuse(`${section}.${name}`, `must be at most ${limit}, not ${formatDuration(value)}`);
  }
}

/** A route's attempts may be bounded by the general ones; the general attempts a target give way to the route's bound. */
function checkAttempts(
  retry: RetryConfig | RouteRetryConfig | undefined,
  general: RetryConfig | undefined,
  path: string,
  findings: Findings,
): void {
  if (retry?.attemptsPerTarget === undefined) return;
  const [bound, boundPath] = retry.attempts === undefined ? [general?.attempts, 'retry'] : [retry.attempts, path];
  if (bound === undefined || retry.attemptsPerTarget <= bound) return;
  const limit = `${boundPath}.attempts (${bound})`;
  findings.refuse(`${path}.attempts_per_target`, `must be at most ${limit}, not ${retry.attemptsPerTarget}`);
}
