import {
  type CompletionRequest,
  type Tool,
  type ToolChoice,
  ToolChoiceMode,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { ExtrasReader } from './extras.ts';
import { array, member, object, objectOver, rawMember } from './json-text.ts';
import type { OpenAIDialect } from './openai-dialect.ts';
import { type Writing, writeMessages } from './openai-request-messages.ts';
import { cannotTake, placeOf } from './unsupported.ts';

/** The wire family of everything that follows OpenAI's chat completions. */
export const openaiFamily = 'openai';

/**
 * Keys of OpenAI's request that typed fields stand for: `extra_json` of a request must not hold them.
 *
 * `functions` and `function_call` are the old names of tools, which the door translates.
 */
export const typedRequestKeys: ReadonlySet<string> = new Set([
  'model',
  'messages',
  'temperature',
  'top_p',
  'top_k',
  'max_tokens',
  'max_completion_tokens',
  'stop',
  'n',
  'seed',
  'frequency_penalty',
  'presence_penalty',
  'logprobs',
  'top_logprobs',
  'logit_bias',
  'tools',
  'tool_choice',
  'parallel_tool_calls',
  'functions',
  'function_call',
  'response_format',
  'reasoning_effort',
  'modalities',
  'audio',
  'service_tier',
  'metadata',
  'stream',
  'stream_options',
]);

/** To whom a request is written. */
export interface OpenAIRecipient {
  readonly provider: string;
  readonly model: string;
  readonly streaming: boolean;
  readonly dialect: OpenAIDialect;
  readonly dropUnsupported: 'error' | 'drop';
}

/** A request's body, and the names of the fields that are not in it. */
export interface WrittenRequest {
  readonly body: string;
  readonly droppedFields: readonly string[];
}

/** Write a completion request as the JSON body of OpenAI's chat completions. Throws `invalid_request` for what has no place there. */
export function writeRequestBody(request: CompletionRequest, recipient: OpenAIRecipient): WrittenRequest {
  const { dialect, model, provider, streaming } = recipient;
  const extras = new ExtrasReader(openaiFamily, provider);
  const unsupported = new Set<string>();
  const refuse: Writing['refuse'] = (item, field) => unsupported.add(`${placeOf(item, request)}.${field}`);
  /** A member for a typed field, unless the provider cannot take the field. */
  const typed = (field: string, value: unknown, name = field): string => {
    if (value === undefined || !dialect.unsupported.has(field)) return member(name, value);
    if (JSON.stringify(value) !== withoutEffect[field]) unsupported.add(field);
    return '';
  };
  const offered = toolsToOffer(request, dialect);
  const { reasoning } = request;
  const requestExtras = extras.readRequest(request.extraJson, typedRequestKeys);

  const body = object(
    requestExtras.members,
    member('model', model),
    rawMember('messages', writeMessages(request.messages, { dialect, extras, refuse })),
    typed('temperature', request.temperature),
    typed('top_p', request.topP),
    typed('top_k', request.topK),
    typed('max_output_tokens', request.maxOutputTokens, dialect.outputLimitName(model)),
    typed('stop', unlessEmpty(request.stop)),
    typed('n', request.n),
    typed('seed', request.seed),
    typed('frequency_penalty', request.frequencyPenalty),
    typed('presence_penalty', request.presencePenalty),
    typed('logprobs', request.logprobs),
    typed('top_logprobs', request.topLogprobs),
    typed('logit_bias', Object.keys(request.logitBias).length > 0 ? request.logitBias : undefined),
    rawMember('tools', writeTools(offered, { dialect, extras, refuse })),
    writeToolChoice(request.toolChoice, request.tools, dialect, unsupported),
    typed('parallel_tool_calls', request.parallelToolCalls),
    writeResponseFormat(request),
    typed('reasoning.effort', reasoning?.effort || undefined, 'reasoning_effort'),
    typed('reasoning.budget_tokens', reasoning?.budgetTokens),
    typed('output_modalities', unlessEmpty(request.outputModalities), 'modalities'),
    typed('audio_output', request.audioOutput && voice(request.audioOutput), 'audio'),
    dialect.unknownHints.has('service_tier') ? '' : member('service_tier', request.serviceTier || undefined),
    // Labels go upstream only where the caller asks to store the answer: OpenAI refuses them otherwise.
    member('metadata', requestExtras.object.store === true ? unlessBare(request.options?.metadata) : undefined),
    streaming ? '"stream":true,"stream_options":{"include_usage":true}' : '',
  );
  if (unsupported.size > 0 && recipient.dropUnsupported === 'error') throw cannotTake(provider, [...unsupported]);
  return { body, droppedFields: [...unsupported, ...extras.leftOut] };
}

/** Values, as JSON, that ask for what happens anyway: a provider that cannot take the field can do without them. */
const withoutEffect: Readonly<Record<string, string>> = {
  n: '1',
  logprobs: 'false',
  top_logprobs: '0',
  parallel_tool_calls: 'true',
  output_modalities: '["text"]',
};

function unlessEmpty<Item>(list: readonly Item[]): readonly Item[] | undefined {
  return list.length > 0 ? list : undefined;
}

function unlessBare<Map extends object>(map: Map | undefined): Map | undefined {
  return map && Object.keys(map).length > 0 ? map : undefined;
}

function voice({ voice, format }: { voice: string; format: string }): object {
  return { voice: voice || undefined, format: format || undefined };
}

function toolName({ kind }: Tool): string | undefined {
  return kind.case === 'function' || kind.case === 'custom' ? kind.value.name : undefined;
}

/** A choice between several tools is OpenAI's alone; elsewhere only those tools are offered, which comes to the same. */
function toolsToOffer({ tools, toolChoice }: CompletionRequest, dialect: OpenAIDialect): readonly Tool[] {
  const allowed = toolChoice?.allowedTools ?? [];
  if (allowed.length === 0 || dialect.allowedTools || isOneTool(toolChoice)) return tools;
  return tools.filter((tool) => allowed.includes(toolName(tool) ?? ''));
}

function isOneTool(choice: ToolChoice | undefined): boolean {
  return choice?.mode === ToolChoiceMode.REQUIRED && choice.allowedTools.length === 1;
}

function writeTools(tools: readonly Tool[], writing: Writing): string {
  const written = tools.map((tool) => writeTool(tool, writing)).filter(Boolean);
  return written.length > 0 ? array(written) : '';
}

function writeTool(tool: Tool, { dialect, extras, refuse }: Writing): string {
  const { kind } = tool;
  switch (kind.case) {
    case 'function': {
      const { name, description, parametersJson, strict } = kind.value;
      const definition = object(
        member('name', name),
        member('description', description || undefined),
        // Some servers insist on a schema, even for a function without arguments.
        rawMember('parameters', parametersJson || '{"type":"object","properties":{}}'),
        member('strict', strict),
      );
      const own = extras.read(tool.extraJson, 'tools');
      return objectOver(own, member('type', 'function'), rawMember('function', definition));
    }
    case 'custom': {
      if (dialect.unsupported.has('tools.custom')) {
        refuse(tool, 'custom');
        return '';
      }
      const { name, description, formatJson } = kind.value;
      const definition = object(
        member('name', name),
        member('description', description || undefined),
        rawMember('format', formatJson),
      );
      const own = extras.read(tool.extraJson, 'tools');
      return objectOver(own, member('type', 'custom'), rawMember('custom', definition));
    }
    case 'provider':
      if (extras.isOwn(kind.value.family)) return kind.value.json;
      extras.leaveOut(`tools.provider.${kind.value.family}`);
      return '';
    default:
      return '';
  }
}

function writeToolChoice(
  choice: ToolChoice | undefined,
  tools: readonly Tool[],
  dialect: OpenAIDialect,
  unsupported: Set<string>,
): string {
  if (!choice || (choice.mode === ToolChoiceMode.UNSPECIFIED && choice.allowedTools.length === 0)) return '';
  if (dialect.unsupported.has('tool_choice')) {
    // Left to itself the model decides, which is what `auto` asks for.
    if (choice.mode !== ToolChoiceMode.AUTO && choice.mode !== ToolChoiceMode.UNSPECIFIED)
      unsupported.add('tool_choice');
    return '';
  }
  const mode = toolChoiceWords[choice.mode];
  const named = (name: string) => {
    const type = tools.find((tool) => toolName(tool) === name)?.kind.case === 'custom' ? 'custom' : 'function';
    return { type, [type]: { name } };
  };
  if (isOneTool(choice)) return member('tool_choice', named(choice.allowedTools[0] ?? ''));
  if (choice.allowedTools.length === 0 || !dialect.allowedTools || mode === 'none') return member('tool_choice', mode);
  const allowed = { mode, tools: choice.allowedTools.map(named) };
  return member('tool_choice', { type: 'allowed_tools', allowed_tools: allowed });
}

const toolChoiceWords: Readonly<Record<ToolChoiceMode, string>> = {
  [ToolChoiceMode.UNSPECIFIED]: 'auto',
  [ToolChoiceMode.AUTO]: 'auto',
  [ToolChoiceMode.NONE]: 'none',
  [ToolChoiceMode.REQUIRED]: 'required',
};

function writeResponseFormat({ responseFormat }: CompletionRequest): string {
  const kind = responseFormat?.kind;
  if (kind?.case === 'jsonObject') return member('response_format', { type: 'json_object' });
  if (kind?.case !== 'jsonSchema') return '';
  const { name, description, schemaJson, strict } = kind.value;
  const schema = object(
    member('name', name || 'answer'),
    member('description', description || undefined),
    rawMember('schema', schemaJson),
    member('strict', strict),
  );
  return rawMember('response_format', object(member('type', 'json_schema'), rawMember('json_schema', schema)));
}
