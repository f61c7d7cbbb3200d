import { Role } from '../../gen/llmgateway/v1/completion_pb.ts';
import { OpenAICompatibleProvider } from './openai-compatible.ts';
import { type OpenAIDialect, plainDialect } from './openai-dialect.ts';
import type { Provider, ProviderOptions } from './provider.ts';

/** Groq answers 400 to each of these, even where its model would not care: https://console.groq.com/docs/openai */
const groqDialect: OpenAIDialect = {
  ...plainDialect,
  outputLimitName: () => 'max_completion_tokens',
  unsupported: new Set([
    'logprobs',
    'top_logprobs',
    'logit_bias',
    'n',
    'top_k',
    'output_modalities',
    'audio_output',
    'tools.custom',
    'reasoning.budget_tokens',
  ]),
  unknownHints: new Set(['name', 'prompt_cache_breakpoint']),
  reasoningName: 'reasoning',
  takesMedia: (kind, role) => kind === 'image' && (role === Role.USER || role === Role.TOOL),
  refusals: false,
};

/** Groq: OpenAI-compatible, without embeddings. */
export function groq(options: ProviderOptions): Provider {
  return new OpenAICompatibleProvider(options, { dialect: groqDialect, embeddings: false });
}
