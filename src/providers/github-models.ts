import { pathBelow } from './http.ts';
import { OpenAICompatibleProvider } from './openai-compatible.ts';
import { type OpenAIDialect, plainDialect } from './openai-dialect.ts';
import type { Provider, ProviderOptions } from './provider.ts';

const githubDialect: OpenAIDialect = {
  ...plainDialect,
  unsupported: new Set(['top_k', 'output_modalities', 'audio_output', 'tools.custom', 'reasoning.budget_tokens']),
  unknownHints: new Set(['service_tier', 'prompt_cache_breakpoint']),
  reasoningName: undefined,
};

/**
 * GitHub Models, which was shut down on 2026-07-30. Its wire format lives on behind proxies of the same shape.
 *
 * The retired service answers 410 and speaks of a brownout, but it is gone for good: the first 410 takes the provider out.
 */
export function githubModels(options: ProviderOptions): Provider {
  const headers = { accept: 'application/vnd.github+json', 'x-github-api-version': '2022-11-28', ...options.headers };
  const provider = new OpenAICompatibleProvider(
    { ...options, headers },
    {
      dialect: githubDialect,
      modelsPath: catalogPath(options.baseUrl),
      onRefusal({ providerStatus }) {
        if (providerStatus !== 410) return;
        provider.unavailable = 'GitHub Models was shut down on 2026-07-30, and answered 410 Gone: use another provider';
      },
    },
  );
  return provider;
}

/** The catalogue is not below `/inference`, nor below `/orgs/{org}/inference`, but beside them. */
function catalogPath(baseUrl: string): string {
  const root = new URL(baseUrl);
  root.pathname = root.pathname.replace(/(\/orgs\/[^/]+)?\/inference\/*$/, '');
  return pathBelow(root.href, '/catalog/models');
}
