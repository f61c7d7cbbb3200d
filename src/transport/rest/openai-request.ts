import type { CallOptions, CompletionRequest } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { optionFields, type ReadField } from './call-options.ts';
import { fieldNames } from './field-names.ts';
import {
  inWords,
  isSet,
  type JsonObject,
  readBoolean,
  readCount,
  readList,
  readNumber,
  readObject,
  readText,
  wrong,
} from './fields.ts';
import { readMessages } from './openai-messages.ts';
import { readFunctionCall, readFunctions, readResponseFormat, readToolChoice, readTools } from './openai-tools.ts';

/** A body of `/v1/chat/completions` or `/completion`, translated. */
export interface ChatRequest {
  readonly request: CompletionRequest & { readonly options: CallOptions };
  stream: boolean;
  /** Whether the stream shall end with a chunk that tells the usage. */
  includeUsage: boolean;
  /** Whether the caller speaks of `functions`, and shall be answered with a `function_call`. */
  legacyFunctions: boolean;
  /** The caller's name for a field of the contract. */
  readonly nameOf: (field: string) => string;
}

interface Reading extends ChatRequest {
  readonly extras: JsonObject;
}

function passOn({ extras }: Reading, value: unknown, at: string): void {
  extras[at] = value;
}

const openaiFields: Readonly<Record<string, ReadField<Reading>>> = {
  model: ({ request }, value, at) => {
    request.model = readText(value, at);
  },
  messages: ({ request }, value, at) => {
    request.messages = readMessages(value, at);
  },
  temperature: ({ request }, value, at) => {
    request.temperature = readNumber(value, at);
  },
  top_p: ({ request }, value, at) => {
    request.topP = readNumber(value, at);
  },
  top_k: ({ request }, value, at) => {
    request.topK = readCount(value, at, 1);
  },
  frequency_penalty: ({ request }, value, at) => {
    request.frequencyPenalty = readNumber(value, at);
  },
  presence_penalty: ({ request }, value, at) => {
    request.presencePenalty = readNumber(value, at);
  },
  max_tokens: readMaxTokens,
  max_completion_tokens: readMaxTokens,
  n: ({ request }, value, at) => {
    request.n = readCount(value, at, 1);
  },
  seed: ({ request }, value, at) => {
    request.seed = readNumber(value, at);
  },
  stop: ({ request }, value, at) => {
    if (typeof value === 'string') request.stop = [value];
    else if (Array.isArray(value)) request.stop = value.map((text, index) => readText(text, `${at}[${index}]`));
    else throw wrong(at, `must be a string or a list of strings, not ${inWords(value)}`);
  },
  logprobs: ({ request }, value, at) => {
    request.logprobs = readBoolean(value, at);
  },
  top_logprobs: ({ request }, value, at) => {
    request.topLogprobs = readCount(value, at);
  },
  logit_bias: ({ request }, value, at) => {
    const entries = Object.entries(readObject(value, at));
    request.logitBias = Object.fromEntries(entries.map(([token, bias]) => [token, readNumber(bias, `${at}.${token}`)]));
  },
  tools: ({ request }, value, at) => {
    request.tools.push(...readTools(value, at));
  },
  tool_choice: ({ request }, value, at) => {
    request.toolChoice = readToolChoice(value, at);
  },
  parallel_tool_calls: ({ request }, value, at) => {
    request.parallelToolCalls = readBoolean(value, at);
  },
  functions: (reading, value, at) => {
    reading.legacyFunctions = true;
    reading.request.tools.push(...readFunctions(value, at));
  },
  function_call: ({ request }, value, at) => {
    request.toolChoice ??= readFunctionCall(value, at);
  },
  response_format: ({ request }, value, at) => {
    const format = readResponseFormat(value, at);
    if (format) request.responseFormat = format;
  },
  reasoning_effort: ({ request }, value, at) => {
    request.reasoning = { $typeName: 'llmgateway.v1.Reasoning', effort: readText(value, at) };
  },
  service_tier: ({ request }, value, at) => {
    request.serviceTier = readText(value, at);
  },
  modalities: ({ request }, value, at) => {
    request.outputModalities = readList(value, at).map((word, index) => readText(word, `${at}[${index}]`));
  },
  audio: ({ request }, value, at) => {
    const { voice, format } = readObject(value, at);
    request.audioOutput = {
      $typeName: 'llmgateway.v1.AudioOutput',
      voice: readText(voice, `${at}.voice`),
      format: readText(format, `${at}.format`),
    };
  },
  stream: (reading, value, at) => {
    reading.stream = readBoolean(value, at);
  },
  stream_options: (reading, value, at) => {
    const { include_usage: include } = readObject(value, at);
    reading.includeUsage = isSet(include) && readBoolean(include, `${at}.include_usage`);
  },
  // Both stay in the body too, in OpenAI's own words; as the label the newer one goes before.
  user: (reading, value, at) => {
    reading.request.options.userId ||= readText(value, at);
    passOn(reading, value, at);
  },
  safety_identifier: (reading, value, at) => {
    reading.request.options.userId = readText(value, at);
    passOn(reading, value, at);
  },
};

function readMaxTokens({ request }: Reading, value: unknown, at: string): void {
  const most = readCount(value, at, 1);
  if (request.maxOutputTokens !== undefined && request.maxOutputTokens !== most) {
    const other = at === 'max_tokens' ? 'max_completion_tokens' : 'max_tokens';
    throw wrong(at, `must not differ from ${other}: ${most} and ${request.maxOutputTokens}`);
  }
  request.maxOutputTokens = most;
}

function inOptions(read: ReadField<CallOptions>): ReadField<Reading> {
  return ({ request }, value, at) => read(request.options, value, at);
}

function table(
  ...fields: readonly Readonly<Record<string, ReadField<Reading>>>[]
): ReadonlyMap<string, ReadField<Reading>> {
  return new Map(fields.flatMap((record) => Object.entries(record)));
}

const ownFields = Object.fromEntries(Object.entries(optionFields).map(([name, read]) => [name, inOptions(read)]));

const openaiTable = table(openaiFields, ownFields);

/** What OpenAI knows and the contract has no field for. */
const passedOn = [
  'moderation',
  'prediction',
  'prompt_cache_key',
  'prompt_cache_options',
  'prompt_cache_retention',
  'store',
  'verbosity',
  'web_search_options',
];

const nativeTable = table(openaiFields, ownFields, Object.fromEntries(passedOn.map((name) => [name, passOn])), {
  user_id: ({ request }, value, at) => {
    request.options.userId = readText(value, at);
  },
  n: (reading, value, at) => {
    if (readCount(value, at, 1) > 1) {
      throw wrong(
        at,
        `must be 1 here, not ${inWords(value)}: this answer holds one choice, /v1/chat/completions holds more`,
      );
    }
    reading.request.n = 1;
  },
});

/** Translate a body of `/v1/chat/completions`: what has no field of its own goes on as an extra of the family `openai`. */
export function readOpenaiRequest(body: JsonObject, options: CallOptions): ChatRequest {
  return read(body, options, openaiTable, passOn);
}

/** Translate a body of `/completion`: OpenAI's fields and the gateway's own; any other is refused. */
export function readNativeRequest(body: JsonObject, options: CallOptions): ChatRequest {
  return read(body, options, nativeTable, (_reading, _value, at) => {
    throw wrong(at, 'is not a field of this request');
  });
}

function read(
  body: JsonObject,
  options: CallOptions,
  fields: ReadonlyMap<string, ReadField<Reading>>,
  readUnknown: ReadField<Reading>,
): ChatRequest {
  const reading: Reading = {
    request: {
      $typeName: 'llmgateway.v1.CompletionRequest',
      model: '',
      messages: [],
      stop: [],
      tools: [],
      options,
      logitBias: {},
      serviceTier: '',
      outputModalities: [],
      extraJson: {},
    },
    stream: false,
    includeUsage: false,
    legacyFunctions: false,
    nameOf: fieldNames(body),
    extras: {},
  };
  for (const name in body) {
    const value = body[name];
    if (value === null) continue;
    (fields.get(name) ?? readUnknown)(reading, value, name);
  }
  if (Object.keys(reading.extras).length > 0) reading.request.extraJson.openai = JSON.stringify(reading.extras);
  return reading;
}
