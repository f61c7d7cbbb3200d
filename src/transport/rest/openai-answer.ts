import {
  type Choice,
  type Citation,
  type Completion,
  FinishReason,
  type Logprobs,
  type Media,
  type Part,
  type TokenLogprob,
  type ToolCall,
  type TopLogprob,
  type Usage,
} from '../../../gen/llmgateway/v1/completion_pb.ts';
import type { RequestFacts } from '../../request-facts.ts';
import type { JsonObject } from './fields.ts';
import { reasoningDetail } from './reasoning-details.ts';
import { signatureBeside, signatureDetail, thoughtSignatureIn } from './thought-signatures.ts';
import { secondsOf } from './times.ts';

const finishReasons: Readonly<Record<number, string>> = {
  [FinishReason.LENGTH]: 'length',
  [FinishReason.TOOL_CALLS]: 'tool_calls',
  [FinishReason.CONTENT_FILTER]: 'content_filter',
};

/**
 * The REST doors' word for why a choice ended; what has none there is `stop`. Callers of the legacy `functions` know a word of
 * their own.
 */
export function finishReasonOf(reason: FinishReason, legacyFunctions = false): string {
  if (legacyFunctions && reason === FinishReason.TOOL_CALLS) return 'function_call';
  return finishReasons[reason] ?? 'stop';
}

/** The extras that OpenAI's answer has a place for: those of its own family. Other families' are not shown. */
export function openaiExtras(extraJson: Readonly<Record<string, string>>): JsonObject | undefined {
  const json = extraJson.openai;
  return json === undefined ? undefined : JSON.parse(json);
}

/** A completion as OpenAI's `chat.completion`, as JSON text. Most of it is the same for an answer that comes again. */
export function chatCompletion(completion: Completion, legacyFunctions: boolean, facts?: RequestFacts): string {
  const { id, createdAt, choices } = completion;
  const created = createdAt ? Math.floor(secondsOf(createdAt)) : 0;
  let text = facts?.wording?.choices === choices ? facts.wording.text : undefined;
  if (text === undefined) {
    text = contentOf(completion, legacyFunctions);
    if (facts?.answer?.completion.choices === choices) facts.wording = { choices, text };
  }
  return `{"id":${JSON.stringify(id)},"object":"chat.completion","created":${created},${text}`;
}

/** All that follows `created`. */
function contentOf({ model, choices, usage, extraJson }: Completion, legacyFunctions: boolean): string {
  const { id, object, created, ...extras } = openaiExtras(extraJson) ?? {};
  const json = {
    ...extras,
    model,
    choices: choices.map((choice) => choiceJson(choice, legacyFunctions)),
    usage: usage ? usageJson(usage, extras.usage) : undefined,
  };
  return JSON.stringify(json).slice(1);
}

function choiceJson(choice: Choice, legacyFunctions: boolean): object {
  const { index, logprobs } = choice;
  const message = messageJson(choice, legacyFunctions);
  return {
    ...openaiExtras(choice.extraJson),
    index,
    message,
    logprobs: logprobs ? logprobsJson(logprobs) : null,
    finish_reason: finishReasonOf(choice.finishReason, legacyFunctions),
  };
}

/** What the parts of one kind after another add up to, as OpenAI's message has no order between kinds. */
function messageJson({ message }: Choice, legacyFunctions: boolean): JsonObject {
  let text = '';
  let reasoning = '';
  let refusal = '';
  const calls: ToolCallJson[] = [];
  const annotations: object[] = [];
  const images: object[] = [];
  const blocks: object[] = [];
  const thoughts: object[] = [];
  const json: JsonObject = { role: 'assistant', content: null, refusal: null };
  for (const part of message?.parts ?? []) {
    const extras = openaiExtras(part.extraJson);
    const { kind } = part;
    const signature = thoughtSignatureIn(part.extraJson.gemini);
    if (kind.case === 'toolCall') {
      const beside = signature === undefined ? undefined : signatureBeside(signature);
      calls.push({ ...extras, ...beside, ...toolCallJson(kind.value) });
      if (signature !== undefined) thoughts.push(signatureDetail(kind.value, signature, thoughts.length));
      continue;
    }
    if (kind.case === undefined) {
      if (extras) blocks.push(extras);
      continue;
    }
    if (extras) Object.assign(json, extras);
    if (kind.case === 'text') {
      annotations.push(...annotationsJson(part, kind.value, text));
      text += kind.value;
      if (signature !== undefined) thoughts.push(signatureDetail('text', signature, thoughts.length));
    } else if (kind.case === 'reasoning') {
      reasoning += kind.value;
      const detail = reasoningDetail(kind.value, part.extraJson.anthropic, thoughts.length);
      if (detail) thoughts.push(detail);
      if (signature !== undefined) thoughts.push(signatureDetail('thought', signature, thoughts.length));
    } else if (kind.case === 'refusal') refusal += kind.value;
    else if (kind.case === 'audio') json.audio = { ...(json.audio as object | undefined), ...audioJson(kind.value) };
    else if (kind.case === 'image') images.push(imageJson(kind.value));
  }
  if (message) Object.assign(json, openaiExtras(message.extraJson));
  const silent = text === '' && (calls.length > 0 || refusal !== '' || json.audio !== undefined);
  json.role = 'assistant';
  json.content = silent ? null : text;
  json.refusal = refusal === '' ? null : refusal;
  if (reasoning !== '') json.reasoning_content = reasoning;
  if (thoughts.length > 0)
    json.reasoning_details = thoughts.concat((json.reasoning_details as object[] | undefined) ?? []);
  if (annotations.length > 0) json.annotations = annotations.concat((json.annotations as object[] | undefined) ?? []);
  // Content stays a string, as clients expect: what the provider put between its texts stands beside it.
  if (blocks.length > 0) json.content_blocks = blocks;
  if (images.length > 0) json.images = images;
  const [firstCall] = calls;
  if (firstCall && legacyFunctions) json.function_call = firstCall.function;
  else if (firstCall) json.tool_calls = calls;
  return json;
}

/** A tool call in OpenAI's shape. */
export interface ToolCallJson {
  readonly id: string;
  readonly type: string;
  readonly function?: { readonly name: string; readonly arguments: string };
  readonly custom?: { readonly name: string; readonly input: string };
}

/** A tool call, or the first delta of one. */
export function toolCallJson(call: Pick<ToolCall, 'id' | 'name' | 'arguments' | 'custom'>): ToolCallJson {
  const { id, name } = call;
  if (call.custom) return { id, type: 'custom', custom: { name, input: call.arguments } };
  return { id, type: 'function', function: { name, arguments: call.arguments } };
}

/** Spoken output; its id is that of the file which the provider keeps. */
export function audioJson({ source, transcript }: Media): JsonObject {
  const json: JsonObject = {};
  if (source.case === 'fileId') json.id = source.value;
  if (source.case === 'data') json.data = base64(source.value);
  if (transcript !== '') json.transcript = transcript;
  return json;
}

/** An image that the model made, in the form that clients of image models over this API know. */
export function imageJson({ source, mimeType }: Media): object {
  const url =
    source.case === 'data'
      ? `data:${mimeType};base64,${base64(source.value)}`
      : source.case === 'url'
        ? source.value
        : '';
  return { type: 'image_url', image_url: { url } };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

function annotationsJson({ citations }: Part, text: string, before: string): object[] {
  if (citations.length === 0) return [];
  const offset = codePoints(before);
  const whole = codePoints(text);
  return citations.map((citation) => annotationJson(citation, offset, whole));
}

/** A citation; its indexes count from the start of its part, OpenAI's from the start of the whole content. */
export function annotationJson(citation: Citation, offset: number, partLength: number): object {
  const { url, title, startIndex = 0, endIndex = partLength, extraJson } = citation;
  return {
    ...openaiExtras(extraJson),
    type: 'url_citation',
    url_citation: { start_index: offset + startIndex, end_index: offset + endIndex, title, url },
  };
}

/** How many code points a text has. */
export function codePoints(text: string): number {
  let count = text.length;
  for (let at = 0; at < text.length; at++) if ((text.charCodeAt(at) & 0xfc00) === 0xdc00) count--;
  return count;
}

export function logprobsJson({ content, refusal }: Pick<Logprobs, 'content' | 'refusal'>): object {
  return {
    content: content.length > 0 ? content.map(tokenJson) : null,
    refusal: refusal.length > 0 ? refusal.map(tokenJson) : null,
  };
}

function tokenJson(token: TokenLogprob): object {
  return { ...topJson(token), top_logprobs: token.topLogprobs.map(topJson) };
}

function topJson({ token, logprob, bytes }: Pick<TopLogprob, 'token' | 'logprob' | 'bytes'>): object {
  return { token, logprob, bytes: bytes ? [...bytes] : null };
}

/** Usage in OpenAI's shape; details that are unknown are left out. The provider's own keys stand where they came from. */
export function usageJson(usage: Usage, extras?: unknown): object {
  const more = (extras ?? {}) as JsonObject;
  return {
    ...more,
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.totalTokens,
    prompt_tokens_details: details(more.prompt_tokens_details, {
      cached_tokens: usage.cachedPromptTokens,
      cache_write_tokens: usage.cacheWritePromptTokens,
      audio_tokens: usage.promptAudioTokens,
    }),
    completion_tokens_details: details(more.completion_tokens_details, {
      reasoning_tokens: usage.reasoningTokens,
      audio_tokens: usage.completionAudioTokens,
      accepted_prediction_tokens: usage.acceptedPredictionTokens,
      rejected_prediction_tokens: usage.rejectedPredictionTokens,
    }),
  };
}

function details(extras: unknown, known: Record<string, number | undefined>): object | undefined {
  const json: JsonObject = { ...(extras as JsonObject | undefined) };
  for (const name in known) if (known[name] !== undefined) json[name] = known[name];
  return Object.keys(json).length > 0 ? json : undefined;
}
