import type { CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';
import { type ClaudeGeneration, generationOf } from './anthropic-generations.ts';
import { type Writing, writeMessages } from './anthropic-request-messages.ts';
import { adaptSchema } from './anthropic-schema.ts';
import { planThinking, type ThinkingPlan } from './anthropic-thinking.ts';
import { writeTools } from './anthropic-tools.ts';
import { ExtrasReader } from './extras.ts';
import { member, object, rawMember } from './json-text.ts';
import { cannotTake, placeOf } from './unsupported.ts';

/** The wire family of Anthropic's Messages API. */
export const anthropicFamily = 'anthropic';

/** Keys of Anthropic's request that typed fields stand for: `extra_json` of a request must not hold them. */
export const typedRequestKeys: ReadonlySet<string> = new Set([
  'model',
  'messages',
  'system',
  'max_tokens',
  'stop_sequences',
  'stream',
  'temperature',
  'top_p',
  'top_k',
  'tools',
  'tool_choice',
  'thinking',
  'output_config',
  'output_format',
  'service_tier',
]);

/** Asked for where neither the caller nor what is known of the model says how long an answer may be. */
export const defaultMaxTokens = 4_096;

/** To whom a request is written. */
export interface AnthropicRecipient {
  readonly provider: string;
  readonly model: string;
  readonly streaming: boolean;
  readonly dropUnsupported: 'error' | 'drop';
}

/** A request's body, and the names of the fields that are not in it. */
export interface WrittenRequest {
  readonly body: string;
  readonly droppedFields: readonly string[];
}

/** Write a completion request as the JSON body of Anthropic's messages. Throws `invalid_request` for what has no place there. */
export function writeRequestBody(request: CompletionRequest, recipient: AnthropicRecipient): WrittenRequest {
  const { model, provider, streaming } = recipient;
  const generation = generationOf(model);
  const extras = new ExtrasReader(anthropicFamily, provider);
  const unsupported = new Set(namesOfUnsupported(request));
  const writing: Writing = { extras, refuse: (item, field) => unsupported.add(`${placeOf(item, request)}.${field}`) };

  const { members } = extras.readRequest(request.extraJson, typedRequestKeys);
  const { system, messages, mayThink } = writeMessages(request, writing);
  const { tools, toolChoice, forced } = writeTools(request, writing);
  const maxTokens = maxTokensOf(request, generation);
  const plan = planThinking(request.reasoning, generation, maxTokens);
  for (const field of plan.unsupported) unsupported.add(field);
  for (const field of plan.leftOut) extras.leaveOut(field);
  const wantsThinking = plan.thinking !== undefined && plan.thinking.type !== 'disabled';
  const thinks = wantsThinking && mayThink && !forced;
  if (wantsThinking && !thinks) extras.leaveOut('reasoning');

  const body = object(
    members,
    member('model', model),
    member('max_tokens', maxTokens),
    rawMember('system', system),
    rawMember('messages', messages),
    tools,
    toolChoice,
    member('thinking', wantsThinking && !thinks ? undefined : plan.thinking),
    writeOutputConfig(request, plan, unsupported),
    writeSampling(request, generation, thinks, unsupported),
    writeStop(request, unsupported),
    member('service_tier', serviceTiers.get(request.serviceTier)),
    streaming ? '"stream":true' : '',
  );
  if (unsupported.size > 0 && recipient.dropUnsupported === 'error') throw cannotTake(provider, [...unsupported]);
  return { body, droppedFields: [...unsupported, ...extras.leftOut] };
}

/** Fields that this wire has no place for at all, but for values that ask for what happens anyway. */
function namesOfUnsupported(request: CompletionRequest): string[] {
  const { outputModalities } = request;
  const asked: Record<string, boolean> = {
    n: request.n !== undefined && request.n !== 1,
    seed: request.seed !== undefined,
    frequency_penalty: !!request.frequencyPenalty,
    presence_penalty: !!request.presencePenalty,
    logprobs: !!request.logprobs,
    top_logprobs: !!request.topLogprobs,
    logit_bias: Object.keys(request.logitBias).length > 0,
    output_modalities: outputModalities.some((modality) => modality !== 'text'),
    audio_output: request.audioOutput !== undefined,
  };
  return Object.keys(asked).filter((field) => asked[field]);
}

/** The wire insists on a limit: unless the caller sets one, it is all that the model can say. */
function maxTokensOf({ maxOutputTokens, reasoning }: CompletionRequest, generation: ClaudeGeneration): number {
  return maxOutputTokens ?? generation.maxOutputTokens ?? defaultMaxTokens + (reasoning?.budgetTokens ?? 0);
}

function writeOutputConfig(
  { responseFormat }: CompletionRequest,
  { effort }: ThinkingPlan,
  unsupported: Set<string>,
): string {
  const kind = responseFormat?.kind;
  let format: object | undefined;
  if (kind?.case === 'jsonSchema') {
    const schema = JSON.parse(kind.value.schemaJson || '{"type":"object"}');
    const described = kind.value.description && !schema.description ? { description: kind.value.description } : {};
    format = { type: 'json_schema', schema: adaptSchema({ ...schema, ...described }) };
  } else if (kind?.case === 'jsonObject') {
    // Objects are closed here: one without a schema would have to be empty.
    unsupported.add('response_format.json_object');
  }
  return effort || format ? member('output_config', { effort, format }) : '';
}

/** Who thinks, and who is of a late generation, samples as it thinks best: all but the default is refused. */
function writeSampling(
  { temperature, topP, topK }: CompletionRequest,
  { sampling }: ClaudeGeneration,
  thinks: boolean,
  unsupported: Set<string>,
): string {
  const isFree = sampling && !thinks;
  const takesTemperature = temperature === undefined || temperature === 1 || (isFree && temperature <= 1);
  if (!takesTemperature) unsupported.add('temperature');
  // The whole of the probability mass is the default: some models refuse any top_p beside a temperature.
  const narrows = topP !== undefined && topP < 1;
  const takesTopP = isFree || (thinks && sampling && (topP ?? 1) >= 0.95);
  if (narrows && !takesTopP) unsupported.add('top_p');
  if (topK !== undefined && !isFree) unsupported.add('top_k');
  return [
    takesTemperature ? member('temperature', temperature) : '',
    narrows && takesTopP ? member('top_p', topP) : '',
    isFree ? member('top_k', topK) : '',
  ]
    .filter(Boolean)
    .join(',');
}

/** A text of nothing but white space is refused. */
function writeStop({ stop }: CompletionRequest, unsupported: Set<string>): string {
  const visible = stop.filter((text) => text.trim() !== '');
  if (visible.length < stop.length) unsupported.add('stop');
  return visible.length > 0 ? member('stop_sequences', visible) : '';
}

/** A hint: the words of others that mean the same; all else is left to the provider. */
const serviceTiers: ReadonlyMap<string, string> = new Map([
  ['auto', 'auto'],
  ['standard_only', 'standard_only'],
  ['default', 'standard_only'],
]);
