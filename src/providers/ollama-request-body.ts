import {
  type CompletionRequest,
  type Reasoning,
  type Tool,
  ToolChoiceMode,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError } from '../errors.ts';
import { ExtrasReader } from './extras.ts';
import { array, member, object, objectOver, rawMember } from './json-text.ts';
import { isObject, type JsonObject } from './json-value.ts';
import { type OllamaWriting, writeOllamaMessages } from './ollama-request-messages.ts';
import { cannotTake, placeOf } from './unsupported.ts';

/** The wire family of Ollama's native API. */
export const ollamaFamily = 'ollama';

/**
 * Keys of Ollama's chat request that typed fields stand for: `extra_json` of a request must not hold them.
 *
 * Everything else may stand there, `options.num_ctx`, `keep_alive`, `truncate` and `shift` among them.
 */
export const typedOllamaKeys: ReadonlySet<string> = new Set([
  'model',
  'messages',
  'tools',
  'format',
  'think',
  'logprobs',
  'top_logprobs',
  'stream',
  'options.num_predict',
  'options.stop',
  'options.temperature',
  'options.top_p',
  'options.top_k',
  'options.seed',
  'options.frequency_penalty',
  'options.presence_penalty',
]);

/** To whom a request is written. */
export interface OllamaRecipient {
  readonly provider: string;
  readonly model: string;
  readonly streaming: boolean;
  readonly dropUnsupported: 'error' | 'drop';
}

/** Write a completion request as the JSON body of `/api/chat`. Throws `invalid_request` for what has no place there. */
export function writeOllamaBody(
  request: CompletionRequest,
  { provider, model, streaming, dropUnsupported }: OllamaRecipient,
): { body: string; droppedFields: readonly string[] } {
  const extras = new ExtrasReader(ollamaFamily, provider);
  const unsupported = unsupportedFields(request);
  const writing: OllamaWriting = {
    extras,
    refuse: (item, field) => unsupported.add(`${placeOf(item, request)}.${field}`),
  };
  const own = extras.readRequest(request.extraJson, typedOllamaKeys).object;
  const body = objectOver(
    own,
    member('model', model),
    rawMember('messages', writeOllamaMessages(request.messages, writing)),
    rawMember('tools', writeTools(request, writing)),
    rawMember('format', formatOf(request, extras)),
    rawMember('options', writeOptions(request, optionsOf(own, provider))),
    member('think', thinkOf(request.reasoning, model, unsupported)),
    member('logprobs', request.logprobs),
    member('top_logprobs', request.topLogprobs),
    // Always said: left out it means true.
    member('stream', streaming),
  );
  if (unsupported.size > 0 && dropUnsupported === 'error') throw cannotTake(provider, [...unsupported]);
  return { body, droppedFields: [...unsupported, ...extras.leftOut] };
}

/** What `/api/chat` has no word for, unless it asks for what happens anyway. */
function unsupportedFields(request: CompletionRequest): Set<string> {
  const { n, toolChoice, parallelToolCalls, logitBias, outputModalities, audioOutput, reasoning } = request;
  const asked: Record<string, boolean> = {
    n: n !== undefined && n > 1,
    tool_choice: toolChoice?.mode === ToolChoiceMode.REQUIRED,
    parallel_tool_calls: parallelToolCalls === false,
    logit_bias: Object.keys(logitBias).length > 0,
    output_modalities: outputModalities.some((modality) => modality !== 'text'),
    audio_output: audioOutput !== undefined,
    'reasoning.budget_tokens': reasoning?.budgetTokens !== undefined,
  };
  return new Set(Object.keys(asked).filter((field) => asked[field]));
}

function writeOptions(request: CompletionRequest, more: JsonObject | undefined): string {
  const { maxOutputTokens, stop, temperature, topP, topK, seed, frequencyPenalty, presencePenalty } = request;
  const options = objectOver(
    more,
    member('num_predict', maxOutputTokens),
    member('stop', stop.length > 0 ? stop : undefined),
    member('temperature', temperature),
    member('top_p', topP),
    member('top_k', topK),
    member('seed', seed),
    member('frequency_penalty', frequencyPenalty),
    member('presence_penalty', presencePenalty),
  );
  return options === '{}' ? '' : options;
}

function optionsOf({ options }: JsonObject, provider: string): JsonObject | undefined {
  if (options === undefined || isObject(options)) return options;
  const violation = { field: 'extra_json.ollama.options', description: 'must be an object' };
  throw new GatewayError('invalid_request', `${violation.field} ${violation.description}`, {
    provider,
    violations: [violation],
  });
}

/** The wire's words for how much to think. `minimal` and `xhigh` are others' words for its ends. */
const thinkWords: Readonly<Record<string, boolean | string>> = {
  none: false,
  minimal: 'low',
  low: 'low',
  medium: 'medium',
  high: 'high',
  xhigh: 'max',
  max: 'max',
  true: true,
  false: false,
};

/** gpt-oss cannot be told not to think: it would take `false` without a word, and think. */
function thinkOf(reasoning: Reasoning | undefined, model: string, unsupported: Set<string>): unknown {
  const effort = reasoning?.effort;
  if (!effort) return undefined;
  const think = Object.hasOwn(thinkWords, effort) ? thinkWords[effort] : undefined;
  if (think === undefined || (typeof think === 'boolean' && /(^|\/)gpt-oss\b/.test(model))) {
    unsupported.add('reasoning.effort');
    return undefined;
  }
  return think;
}

/** A schema is always followed, strict or not, and has no name. */
function formatOf({ responseFormat }: CompletionRequest, extras: ExtrasReader): string {
  const kind = responseFormat?.kind;
  if (kind?.case === 'jsonObject') return '"json"';
  if (kind?.case !== 'jsonSchema') return '';
  if (kind.value.description) extras.leaveOut('response_format.json_schema.description');
  return kind.value.schemaJson || '"json"';
}

/** There is no choice between tools on this wire: those that must not be called are not offered. */
function writeTools({ tools, toolChoice }: CompletionRequest, writing: OllamaWriting): string {
  if (toolChoice?.mode === ToolChoiceMode.NONE) return '';
  const allowed = toolChoice?.allowedTools ?? [];
  const offered = tools.filter((tool) => allowed.length === 0 || allowed.includes(nameOf(tool) ?? ''));
  const written = offered.map((tool) => writeTool(tool, writing)).filter(Boolean);
  return written.length > 0 ? array(written) : '';
}

function nameOf({ kind }: Tool): string | undefined {
  return kind.case === 'function' || kind.case === 'custom' ? kind.value.name : undefined;
}

function writeTool(tool: Tool, { extras, refuse }: OllamaWriting): string {
  const { kind } = tool;
  if (kind.case === 'provider') {
    if (extras.isOwn(kind.value.family)) return kind.value.json;
    extras.leaveOut(`tools.provider.${kind.value.family}`);
    return '';
  }
  if (kind.case !== 'function') {
    refuse(tool, 'custom');
    return '';
  }
  const { name, description, parametersJson, strict } = kind.value;
  // Arguments are not held to the schema.
  if (strict) extras.leaveOut('tools.function.strict');
  const definition = object(
    member('name', name),
    member('description', description || undefined),
    rawMember('parameters', parametersJson || '{"type":"object","properties":{}}'),
  );
  return objectOver(
    extras.read(tool.extraJson, 'tools'),
    member('type', 'function'),
    rawMember('function', definition),
  );
}
