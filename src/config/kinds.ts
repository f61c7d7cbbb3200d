import { ProviderKind } from '../../gen/llmgateway/v1/config_pb.ts';

/** What the configuration knows of a kind of provider. */
export interface KindOfProvider {
  /** Where it is unless the configuration says so; empty: that has to be said. */
  readonly baseUrl: string;
  /** The model asked when a call names none; empty: none, unless the configuration gives one. */
  readonly defaultModel: string;
  readonly needsKey: boolean;
}

const none: KindOfProvider = { baseUrl: '', defaultModel: '', needsKey: false };

const kinds: Readonly<Record<number, KindOfProvider>> = {
  [ProviderKind.GEMINI]: {
    baseUrl: 'https://generativelanguage.googleapis.com/v1beta',
    defaultModel: 'gemini-3.5-flash-lite',
    needsKey: true,
  },
  [ProviderKind.GROQ]: {
    baseUrl: 'https://api.groq.com/openai/v1',
    defaultModel: 'openai/gpt-oss-120b',
    needsKey: true,
  },
  [ProviderKind.GITHUB_MODELS]: {
    baseUrl: 'https://models.github.ai/inference',
    defaultModel: 'openai/gpt-4.1-mini',
    needsKey: true,
  },
  // Not `localhost`: where that is ::1 first, an Ollama on 127.0.0.1 would seem to be away.
  [ProviderKind.OLLAMA]: { baseUrl: 'http://127.0.0.1:11434', defaultModel: 'llama3.2', needsKey: false },
  [ProviderKind.ANTHROPIC]: { baseUrl: 'https://api.anthropic.com/v1', defaultModel: '', needsKey: true },
};

/** What the configuration knows of a kind of provider; nothing of those that are all configuration. */
export function kindOf(kind: ProviderKind): KindOfProvider {
  return kinds[kind] ?? none;
}

/** A provider that environment variables alone can bring, and the names of these variables. */
export interface ProviderVariables {
  readonly name: string;
  readonly kind: ProviderKind;
  readonly enable: string;
  /** Undefined: it takes no key. */
  readonly key?: string;
  readonly baseUrl: string;
  readonly defaultModel: string;
}

/** The providers that environment variables alone can bring, in the order in which they are tried. */
export const providerVariables: readonly ProviderVariables[] = [
  {
    name: 'gemini',
    kind: ProviderKind.GEMINI,
    enable: 'ENABLE_GEMINI',
    key: 'GEMINI_API_KEY',
    baseUrl: 'GEMINI_BASE_URL',
    defaultModel: 'GEMINI_DEFAULT_MODEL',
  },
  {
    name: 'groq',
    kind: ProviderKind.GROQ,
    enable: 'ENABLE_GROQ',
    key: 'GROQ_API_KEY',
    baseUrl: 'GROQ_BASE_URL',
    defaultModel: 'GROQ_DEFAULT_MODEL',
  },
  {
    name: 'github_models',
    kind: ProviderKind.GITHUB_MODELS,
    enable: 'ENABLE_GITHUB_MODELS',
    key: 'GITHUB_TOKEN',
    baseUrl: 'GITHUB_MODELS_BASE_URL',
    defaultModel: 'GITHUB_MODELS_DEFAULT_MODEL',
  },
  {
    name: 'ollama',
    kind: ProviderKind.OLLAMA,
    enable: 'ENABLE_OLLAMA',
    baseUrl: 'OLLAMA_BASE_URL',
    defaultModel: 'OLLAMA_DEFAULT_MODEL',
  },
];
