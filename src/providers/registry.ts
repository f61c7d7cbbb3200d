import { AnthropicProvider } from './anthropic.ts';
import { demo } from './demo.ts';
import { GeminiProvider } from './gemini.ts';
import { githubModels } from './github-models.ts';
import { groq } from './groq.ts';
import { OllamaProvider } from './ollama.ts';
import { OpenAICompatibleProvider } from './openai-compatible.ts';
import type { Provider, ProviderOptions } from './provider.ts';
import { type ProxySettings, proxyFor } from './proxy.ts';

/** Which dialect a provider speaks. */
export type ProviderKindName = keyof typeof kinds;

/** A provider as the configuration names it; what is unset or empty is the kind's own. */
export interface ProviderSettings {
  readonly name: string;
  readonly kind: ProviderKindName;
  readonly baseUrl?: string | undefined;
  readonly apiKeys?: readonly string[] | undefined;
  readonly defaultModel?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** The default value is `error`. */
  readonly dropUnsupported?: 'error' | 'drop' | undefined;
  readonly connectTimeoutMs?: number | undefined;
  /** The most connections. The default value is 512. */
  readonly maxConnections?: number | undefined;
  /** How the outside is reached. The default is directly. */
  readonly proxies?: ProxySettings | undefined;
}

interface Kind {
  readonly create: (options: ProviderOptions) => Provider;
  /** Empty: the configuration has to name one. */
  readonly baseUrl: string;
  readonly defaultModel: string;
}

/** Every kind of provider there is: adding one is its file, and its line here. */
const kinds = {
  openai_compatible: { create: (options) => new OpenAICompatibleProvider(options), baseUrl: '', defaultModel: '' },
  groq: { create: groq, baseUrl: 'https://api.groq.com/openai/v1', defaultModel: 'openai/gpt-oss-120b' },
  github_models: {
    create: githubModels,
    baseUrl: 'https://models.github.ai/inference',
    defaultModel: 'openai/gpt-4.1-mini',
  },
  ollama: {
    create: (options) => new OllamaProvider(options),
    baseUrl: 'http://127.0.0.1:11434',
    defaultModel: 'llama3.2',
  },
  demo: { create: demo, baseUrl: '', defaultModel: 'demo-1' },
  gemini: {
    create: (options) => new GeminiProvider(options),
    baseUrl: 'https://generativelanguage.googleapis.com/v1beta',
    defaultModel: 'gemini-3.5-flash-lite',
  },
  anthropic: {
    create: (options) => new AnthropicProvider(options),
    baseUrl: 'https://api.anthropic.com/v1',
    defaultModel: '',
  },
} as const satisfies Record<string, Kind>;

/** Build the adapter of a provider. Nothing is sent before it is asked. */
export function createProvider(settings: ProviderSettings): Provider {
  const { name, kind, apiKeys = [], headers = {}, dropUnsupported = 'error' } = settings;
  const { connectTimeoutMs, maxConnections, proxies } = settings;
  const { create, ...own }: Kind = kinds[kind];
  const baseUrl = settings.baseUrl || own.baseUrl;
  const defaultModel = settings.defaultModel || own.defaultModel;
  const proxy = proxies && baseUrl ? proxyFor(baseUrl, proxies) : undefined;
  const connecting = { connectTimeoutMs, maxConnections, proxy };
  return create({ name, kind, baseUrl, apiKeys, defaultModel, headers, dropUnsupported, ...connecting });
}
