import { Role } from '../../gen/llmgateway/v1/completion_pb.ts';

/** How one OpenAI-compatible provider differs from the others in what it takes. */
export interface OpenAIDialect {
  /** What `max_output_tokens` is called for a model. */
  readonly outputLimitName: (model: string) => 'max_tokens' | 'max_completion_tokens';
  /** Fields of CompletionRequest that it cannot take: left out, or refused, by `drop_unsupported`. */
  readonly unsupported: ReadonlySet<string>;
  /** Hints that it cannot take: left out silently. */
  readonly unknownHints: ReadonlySet<'name' | 'service_tier' | 'prompt_cache_breakpoint'>;
  /** Where the reasoning of earlier turns is sent back; undefined: nowhere. */
  readonly reasoningName: 'reasoning' | 'reasoning_content' | undefined;
  /** Whether it takes pictures, sounds or files in messages of a role. */
  readonly takesMedia: (kind: 'image' | 'audio' | 'file', role: Role) => boolean;
  /** Whether it takes back that the model refused; else that is told as what the model said. */
  readonly refusals: boolean;
  /** Whether it knows the role `developer`; else `system` is said. */
  readonly developerRole: boolean;
  /** Whether `tool_choice` may name several tools; else only those are offered. */
  readonly allowedTools: boolean;
}

/** OpenAI's reasoning models refuse `max_tokens`, wherever they are served. */
const reasoningModel = /(^|\/)(o\d|gpt-[5-9])/;

/** An endpoint of which nothing is known but that it follows OpenAI: most of them have never heard of the newer names. */
export const plainDialect: OpenAIDialect = {
  outputLimitName: (model) => (reasoningModel.test(model) ? 'max_completion_tokens' : 'max_tokens'),
  unsupported: new Set(['reasoning.budget_tokens']),
  unknownHints: new Set(['prompt_cache_breakpoint']),
  reasoningName: 'reasoning_content',
  takesMedia: () => true,
  refusals: true,
  developerRole: false,
  allowedTools: false,
};

/** OpenAI itself, and Azure. */
const openaiDialect: OpenAIDialect = {
  outputLimitName: () => 'max_completion_tokens',
  unsupported: new Set(['reasoning.budget_tokens', 'top_k']),
  unknownHints: new Set(),
  reasoningName: undefined,
  takesMedia: (_, role) => role === Role.USER,
  refusals: true,
  developerRole: true,
  allowedTools: true,
};

/** The dialect that is spoken at an address. */
export function dialectAt(baseUrl: string): OpenAIDialect {
  const { hostname } = new URL(baseUrl);
  return hostname === 'api.openai.com' || hostname.endsWith('.openai.azure.com') ? openaiDialect : plainDialect;
}
