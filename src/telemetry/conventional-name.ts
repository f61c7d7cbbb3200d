/** Kinds of providers that the conventions have a name for. */
const kinds: Readonly<Record<string, string>> = { gemini: 'gcp.gemini', groq: 'groq', anthropic: 'anthropic' };

/** Hosts of those that speak OpenAI's dialect. */
const hosts: Readonly<Record<string, string>> = {
  'api.openai.com': 'openai',
  'api.deepseek.com': 'deepseek',
  'api.mistral.ai': 'mistral_ai',
  'api.x.ai': 'x_ai',
  'api.perplexity.ai': 'perplexity',
};

/**
 * The name of a provider by OpenTelemetry's conventions; its kind, or its own name, where they have none.
 *
 * @see https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/registry/attributes/gen-ai.md#gen-ai-provider-name
 */
export function conventionalName(kind: string, host: string | undefined, name: string): string {
  if (kind !== 'openai_compatible') return kinds[kind] ?? kind;
  if (host?.endsWith('.openai.azure.com')) return 'azure.ai.openai';
  return hosts[host ?? ''] ?? name;
}
