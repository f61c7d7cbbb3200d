import type { Config, ProviderConfig, RouteConfig } from '../../gen/llmgateway/v1/config_pb.ts';
import { builtInTiers } from './defaults.ts';
import type { Findings } from './findings.ts';

/**
 * Refuse settings that bind to nothing: whoever wrote them believes that they do something.
 *
 * Only what can never have an effect, whatever a call asks for. A weight under a strategy without shares is none of these: a call
 * may ask for another strategy.
 */
export function checkEffects(config: Config, findings: Findings): void {
  for (const [index, provider] of config.providers.entries()) checkProvider(provider, `providers[${index}]`, findings);
  for (const [index, route] of config.routes.entries()) checkRoute(route, config, `routes[${index}]`, findings);
  checkTiers(config, findings);
}

function checkProvider({ limits }: ProviderConfig, path: string, findings: Findings): void {
  refuseEmpty(`${path}.timeouts`, findings);
  refuseEmpty(`${path}.limits`, findings);
  const { requestsPerMinute, requestsPerSecond, maxConcurrent } = limits ?? {};
  const given = [requestsPerMinute, requestsPerSecond, maxConcurrent].filter((limit) => limit !== undefined);
  if (given.length === 0 || given.some((limit) => limit > 0) || isByEnvironment(`${path}.limits`, findings)) return;
  findings.refuse(`${path}.limits`, 'limits nothing: 0 is no limit; leave it out, or give a number above 0');
}

/** One file may serve many environments, and some of them set no limit. */
function isByEnvironment(path: string, findings: Findings): boolean {
  const names = ['requests_per_minute', 'requests_per_second', 'max_concurrent'];
  return names.some((name) => findings.origin(`${path}.${name}`)?.text?.includes('${'));
}

function checkRoute(route: RouteConfig, config: Config, path: string, findings: Findings): void {
  const { model, targets, hedge } = route;
  if (model === 'auto') {
    findings.refuse(
      `${path}.model`,
      'must not be "auto", which stands for the default models of all providers: nobody would get here',
    );
  }
  const why = hedge && whyNeverHedged(route, config);
  if (why) findings.refuse(`${path}.hedge`, `binds to nothing: ${why}`);
  const places = new Map<string, number>();
  for (const [at, target] of targets.entries()) {
    const key = JSON.stringify([target.provider, target.model]);
    const first = places.get(key);
    if (first === undefined) places.set(key, at);
    else findings.refuse(`${path}.targets[${at}]`, `is the same as targets[${first}]; give one of them more weight`);
  }
  for (const section of ['retry', 'cache', 'timeouts']) refuseEmpty(`${path}.${section}`, findings);
}

function whyNeverHedged({ targets, retry }: RouteConfig, config: Config): string | undefined {
  if (targets.length === 1) return 'the route has 1 target, and no other that could be asked beside it';
  if ((retry?.attempts ?? config.retry?.attempts) === 1) return 'with attempts 1 no other target is asked';
  if (config.retry?.budgetRatio === 0) return 'retry.budget_ratio 0 allows none';
  return undefined;
}

/** Not a section with misspelt keys: these are told already. */
function refuseEmpty(path: string, findings: Findings): void {
  if (findings.origin(path)?.text === '{}') findings.refuse(path, 'is empty, and changes nothing; leave it out');
}

/** Not told while a key has a tier that nobody knows: it may be the one that is meant. Nor where tokens may name any. */
function checkTiers({ limits, keys, jwt }: Config, findings: Findings): void {
  if (jwt.some(({ tierClaim }) => tierClaim !== '')) return;
  const tiers = limits?.tiers ?? [];
  const names = tiers.map(({ name }) => name);
  if (findings.isRefused('keys') || keys.some(({ tier }) => !names.includes(tier))) return;
  for (const [index, name] of names.entries()) {
    const isBuiltIn = builtInTiers.some((builtIn) => builtIn.name === name);
    const isTold = name === '' || names.indexOf(name) < index;
    if (isBuiltIn || isTold || keys.some(({ tier }) => tier === name)) continue;
    const path = `limits.tiers[${index}]`;
    findings.refuse(path, `binds to nothing: no key has the tier ${findings.shown(`${path}.name`, name)}`);
  }
}
