import { pathBelow } from './http.ts';
import { OpenAICompatibleProvider } from './openai-compatible.ts';
import { type OpenAIDialect, plainDialect } from './openai-dialect.ts';
import type { ProviderOptions } from './provider.ts';

/** What Ollama's OpenAI path would ignore without a word is refused instead. */
const ollamaDialect: OpenAIDialect = {
  ...plainDialect,
  outputLimitName: () => 'max_tokens',
  unsupported: new Set([
    'n',
    'logit_bias',
    'tool_choice',
    'parallel_tool_calls',
    'top_k',
    'output_modalities',
    'audio_output',
    'tools.custom',
    'reasoning.budget_tokens',
  ]),
  unknownHints: new Set(['service_tier', 'prompt_cache_breakpoint']),
  reasoningName: 'reasoning',
};

/** Ollama through its OpenAI path. It is there or it is not: nothing is sent to it until it has been seen. */
export class OllamaProvider extends OpenAICompatibleProvider {
  readonly #versionPath: string;

  constructor(options: ProviderOptions) {
    const root = options.baseUrl.replace(/\/+$/, '').replace(/\/v1$/, '');
    super({ ...options, baseUrl: `${root}/v1` }, { dialect: ollamaDialect });
    this.#versionPath = pathBelow(root, '/api/version');
    this.unavailable = 'no Ollama has answered yet';
  }

  /** Look whether it answers; sets `unavailable`. Never fails. */
  async detect(signal: AbortSignal): Promise<void> {
    try {
      const { status } = await this.upstream.http.fetch({
        method: 'GET',
        path: this.#versionPath,
        headers: {},
        signal,
      });
      this.unavailable = status === 200 ? undefined : `Ollama answered with status ${status}`;
    } catch {
      this.unavailable = 'no Ollama answers';
    }
  }
}
