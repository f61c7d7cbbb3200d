import { create } from '@bufbuild/protobuf';
import { type Config, ProviderConfigSchema } from '../../gen/llmgateway/v1/config_pb.ts';
import { readFlag } from './environment.ts';
import type { Findings } from './findings.ts';
import type { Environment } from './interpolate.ts';
import { type ProviderVariables, providerVariables } from './kinds.ts';
import { show } from './show.ts';

/** Whether Ollama is to be used: as configured, if it answers on its default address, or not at all. */
export type OllamaMode = 'configured' | 'detect' | 'off';

/** What the variables say about providers, beyond what they change in the configuration. */
export interface ProvidersOfEnvironment {
  readonly ollama: OllamaMode;
  /** The names that `ENABLE_X=false` switches off, with the variable: also when the file lists them. */
  readonly switchedOff: ReadonlyMap<string, string>;
}

/**
 * Lay the variables of the providers over what the file gave:
 *
 * - `ENABLE_X=true` adds the provider if the file does not list one of its name; Ollama is added unless `ENABLE_OLLAMA=false`.
 * - Its key, base URL and default model override those of a provider of its name, wherever that one comes from.
 * - `ENABLE_X=false` switches a provider of its name off. It is only marked here, so that the paths of the others stay right.
 */
export function applyProviderVariables(
  config: Config,
  environment: Environment,
  findings: Findings,
): ProvidersOfEnvironment {
  const switchedOff = new Map<string, string>();
  let ollama: OllamaMode = 'detect';
  for (const variables of providerVariables) {
    const { name, enable } = variables;
    const enabled = readFlag(environment, enable, findings);
    const listed = config.providers.findIndex((provider) => provider.name === name);
    const isOllama = name === 'ollama';
    if (enabled === false) {
      switchedOff.set(name, enable);
      if (isOllama) ollama = 'off';
      continue;
    }
    if (isOllama && (listed >= 0 || enabled || environment[variables.baseUrl])) ollama = 'configured';
    if (listed >= 0) override(config, listed, variables, environment, findings);
    else if (enabled || isOllama) override(config, add(config, variables, findings), variables, environment, findings);
  }
  return { ollama, switchedOff };
}

function add(config: Config, { name, kind, enable }: ProviderVariables, findings: Findings): number {
  const index = config.providers.push(create(ProviderConfigSchema, { name, kind })) - 1;
  const path = `providers[${index}]`;
  findings.give(path, { variable: enable });
  findings.give(`${path}.name`, { variable: enable, text: show(name) });
  findings.give(`${path}.kind`, { variable: enable });
  return index;
}

function override(
  config: Config,
  index: number,
  variables: ProviderVariables,
  environment: Environment,
  findings: Findings,
): void {
  const provider = config.providers[index];
  if (!provider) return;
  const path = `providers[${index}]`;
  const key = variables.key && environment[variables.key];
  if (key) {
    provider.apiKey = key;
    provider.apiKeys = [];
    findings.give(`${path}.api_key`, { variable: variables.key as string });
  }
  const baseUrl = environment[variables.baseUrl];
  if (baseUrl) {
    provider.baseUrl = baseUrl;
    findings.give(`${path}.base_url`, { variable: variables.baseUrl, text: show(baseUrl) });
  }
  const defaultModel = environment[variables.defaultModel];
  if (defaultModel) {
    provider.defaultModel = defaultModel;
    findings.give(`${path}.default_model`, { variable: variables.defaultModel, text: show(defaultModel) });
  }
}
