import type { AudioOutput, CompletionRequest, ResponseFormat } from '../../gen/llmgateway/v1/completion_pb.ts';
import { ExtrasReader } from './extras.ts';
import { geminiFamily, generationOf } from './gemini-generations.ts';
import { writeConversation } from './gemini-request-contents.ts';
import { writeTools } from './gemini-request-tools.ts';
import { writeThinking } from './gemini-thinking.ts';
import { member, objectOver, rawMember } from './json-text.ts';
import { isObject, type JsonObject } from './json-value.ts';
import { cannotTake, placeOf } from './unsupported.ts';

/** What typed fields stand for, as paths in Gemini's request. */
const typedPaths = [
  'model',
  'contents',
  'systemInstruction',
  'tools',
  'serviceTier',
  'toolConfig.functionCallingConfig',
  ...[
    'temperature',
    'topP',
    'topK',
    'maxOutputTokens',
    'stopSequences',
    'candidateCount',
    'seed',
    'frequencyPenalty',
    'presencePenalty',
    'responseLogprobs',
    'logprobs',
    'responseMimeType',
    'responseSchema',
    'responseJsonSchema',
    'responseModalities',
    'thinkingConfig',
  ].map((key) => `generationConfig.${key}`),
];

/** Paths in Gemini's request that typed fields stand for: `extra_json` of a request must not hold them, in neither spelling. */
export const typedRequestPaths: ReadonlySet<string> = new Set(typedPaths.flatMap(spellings));

/** Google reads each name in camel and in snake case. */
function spellings(path: string): string[] {
  const [name = '', ...below] = path.split('.');
  const names = [name, inSnakeCase(name)];
  return below.length === 0
    ? names
    : names.flatMap((top) => spellings(below.join('.')).map((rest) => `${top}.${rest}`));
}

function inSnakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** To whom a request is written. */
export interface GeminiRecipient {
  readonly provider: string;
  readonly model: string;
  readonly dropUnsupported: 'error' | 'drop';
}

/** A request's body, and the names of the fields that are not in it. */
export interface WrittenRequest {
  readonly body: string;
  readonly droppedFields: readonly string[];
}

const maxStopSequences = 5;
const serviceTiers = new Set(['flex', 'standard', 'priority']);

/** Write a completion request as the JSON body of `generateContent`. Throws `invalid_request` for what has no place there. */
export function writeRequestBody(request: CompletionRequest, recipient: GeminiRecipient): WrittenRequest {
  const { provider, model } = recipient;
  const extras = new ExtrasReader(geminiFamily, provider);
  const unsupported = new Set<string>();
  const beside = extras.readRequest(request.extraJson, typedRequestPaths).object;
  const { generationConfig, generation_config, toolConfig, tool_config, ...ownExtras } = beside;
  const generation = generationOf(model);
  const { systemInstruction, contents } = writeConversation(request.messages, { provider, generation, extras });
  const { tools, functionCallingConfig } = writeTools(request, extras, (tool, field) =>
    unsupported.add(`${placeOf(tool, request)}.${field}`),
  );
  const thinking = writeThinking(request.reasoning, model);
  for (const field of thinking.refused) unsupported.add(field);
  for (const field of thinking.leftOut) extras.leaveOut(field);
  for (const field of withoutPlace(request, tools !== '', generation)) unsupported.add(field);

  const generating = objectOver(
    merged(generationConfig, generation_config),
    member('temperature', request.temperature),
    member('topP', request.topP),
    member('topK', request.topK),
    member('maxOutputTokens', request.maxOutputTokens),
    member('stopSequences', unlessEmpty(request.stop.slice(0, maxStopSequences))),
    member('candidateCount', request.n),
    member('seed', request.seed),
    member('frequencyPenalty', request.frequencyPenalty),
    member('presencePenalty', request.presencePenalty),
    member('responseLogprobs', request.logprobs),
    member('logprobs', request.logprobs ? request.topLogprobs : undefined),
    ...writeFormat(unsupported.has('response_format') ? undefined : request.responseFormat),
    member('responseModalities', unlessEmpty(request.outputModalities.map((word) => word.toUpperCase()))),
    member('speechConfig', voice(request.audioOutput)),
    member('thinkingConfig', thinking.config),
  );
  const calling = objectOver(merged(toolConfig, tool_config), member('functionCallingConfig', functionCallingConfig));
  const body = objectOver(
    ownExtras,
    rawMember('systemInstruction', systemInstruction),
    rawMember('contents', contents),
    rawMember('tools', tools),
    rawMember('toolConfig', unlessBare(calling)),
    rawMember('generationConfig', unlessBare(generating)),
    member('serviceTier', serviceTiers.has(request.serviceTier) ? request.serviceTier : undefined),
  );
  if (unsupported.size > 0 && recipient.dropUnsupported === 'error') throw cannotTake(provider, [...unsupported]);
  return { body, droppedFields: [...unsupported, ...extras.leftOut] };
}

/** Fields that Gemini does not have, or that this model does not take together. */
function* withoutPlace(request: CompletionRequest, hasTools: boolean, generation: number): Generator<string> {
  if (Object.keys(request.logitBias).length > 0) yield 'logit_bias';
  if (request.parallelToolCalls === false) yield 'parallel_tool_calls';
  if (request.stop.length > maxStopSequences) yield 'stop';
  // Speech is raw PCM, whatever one asks for.
  const format = request.audioOutput?.format;
  if (format && format !== 'pcm16') yield 'audio_output.format';
  if (request.responseFormat && hasTools && generation < 3) yield 'response_format';
}

/** An object of extras, in whichever of its two spellings. */
function merged(camel: unknown, snake: unknown): JsonObject {
  return { ...(isObject(snake) && snake), ...(isObject(camel) && camel) };
}

function writeFormat(format: ResponseFormat | undefined): string[] {
  if (format?.kind.case === undefined) return [];
  const schema = format.kind.case === 'jsonSchema' ? format.kind.value.schemaJson : '';
  return [member('responseMimeType', 'application/json'), rawMember('responseJsonSchema', schema)];
}

function voice(output: AudioOutput | undefined): JsonObject | undefined {
  return output?.voice ? { voiceConfig: { prebuiltVoiceConfig: { voiceName: output.voice } } } : undefined;
}

function unlessEmpty<Item>(list: readonly Item[]): readonly Item[] | undefined {
  return list.length > 0 ? list : undefined;
}

function unlessBare(json: string): string {
  return json === '{}' ? '' : json;
}
