import {
  type CacheBreakpoint,
  type Message,
  type Part,
  Role,
  type ToolCall,
} from '../../../gen/llmgateway/v1/completion_pb.ts';
import { extrasOf, isSet, type JsonObject, readList, readObject, readText, readWord, wrong } from './fields.ts';
import { media, readBase64, readDataUrl, readImageUrl } from './media.ts';
import { areAllOurs, readSignedThoughts } from './reasoning-details.ts';

const roles: Readonly<Record<string, Role>> = {
  system: Role.SYSTEM,
  developer: Role.DEVELOPER,
  user: Role.USER,
  assistant: Role.ASSISTANT,
  tool: Role.TOOL,
  function: Role.TOOL,
};

const messageKeys: ReadonlySet<string> = new Set([
  'role',
  'content',
  'name',
  'refusal',
  'audio',
  'tool_calls',
  'tool_call_id',
  'function_call',
  'reasoning_content',
  'reasoning',
  // What OpenAI's SDKs read in the content, and echo with it: nobody takes it.
  'parsed',
]);

/** The same where what is echoed of signed thoughts needs to be kept for nobody else. */
const keysWithThoughts: ReadonlySet<string> = new Set([...messageKeys, 'reasoning_details']);

const partKeys: Readonly<Record<string, ReadonlySet<string>>> = {
  text: new Set(['type', 'text', 'prompt_cache_breakpoint']),
  refusal: new Set(['type', 'refusal', 'prompt_cache_breakpoint']),
  image_url: new Set(['type', 'image_url', 'prompt_cache_breakpoint']),
  input_audio: new Set(['type', 'input_audio', 'prompt_cache_breakpoint']),
  file: new Set(['type', 'file', 'prompt_cache_breakpoint']),
};

const toolCallKeys: ReadonlySet<string> = new Set(['id', 'type', 'function', 'custom', 'index']);

/**
 * Translate OpenAI's `messages`: one message each, its parts in the order reasoning, content, refusal, audio, tool calls.
 *
 * Keys without a field of their own become extras of the part or message that has them, so that what a client echoes of an
 * answer (`reasoning_details`, `tool_calls[].extra_content`) reaches its provider again.
 */
export function readMessages(value: unknown, at: string): Message[] {
  const messages: Message[] = [];
  for (const [index, item] of readList(value, at).entries()) {
    messages.push(readMessage(readObject(item, `${at}[${index}]`), `${at}[${index}]`, messages));
  }
  return messages;
}

function readMessage(message: JsonObject, at: string, before: readonly Message[]): Message {
  const role = readWord(message.role, `${at}.role`, roles);
  const parts: Part[] = [];
  addReasoning(parts, message, at);
  addContent(parts, message, role, at);
  if (isSet(message.refusal)) parts.push(part({ case: 'refusal', value: readText(message.refusal, `${at}.refusal`) }));
  if (isSet(message.audio)) {
    const { id } = readObject(message.audio, `${at}.audio`);
    const value = media({ source: { case: 'fileId', value: readText(id, `${at}.audio.id`) } });
    parts.push(part({ case: 'audio', value }));
  }
  addToolCalls(parts, message, before.length, at);
  const extras = extrasOf(message, areAllOurs(message.reasoning_details) ? keysWithThoughts : messageKeys);
  return {
    $typeName: 'llmgateway.v1.Message',
    role,
    parts,
    name: isSet(message.name) ? readText(message.name, `${at}.name`) : '',
    toolCallId: readToolCallId(message, before, at),
    toolFailed: false,
    extraJson: extras === undefined ? {} : { openai: extras },
  };
}

function part(kind: Part['kind'], extras?: string, cacheBreakpoint?: CacheBreakpoint): Part {
  const extraJson = extras === undefined ? {} : { openai: extras };
  if (!cacheBreakpoint) return { $typeName: 'llmgateway.v1.Part', kind, citations: [], extraJson };
  return { $typeName: 'llmgateway.v1.Part', kind, citations: [], extraJson, cacheBreakpoint };
}

/** Clients echo reasoning under the name that their provider used. */
function addReasoning(parts: Part[], message: JsonObject, at: string): void {
  const name = isSet(message.reasoning_content) ? 'reasoning_content' : 'reasoning';
  const reasoning = message[name];
  const value = isSet(reasoning) ? readText(reasoning, `${at}.${name}`) : '';
  const signed = readSignedThoughts(message.reasoning_details, value);
  if (signed.length > 0) parts.push(...signed);
  else if (value !== '') parts.push(part({ case: 'reasoning', value }));
}

function addContent(parts: Part[], message: JsonObject, role: Role, at: string): void {
  const { content } = message;
  if (typeof content === 'string') {
    // An empty text beside tool calls says nothing, and some providers refuse it.
    const empty = content === '' && (isSet(message.tool_calls) || isSet(message.function_call));
    if (!empty) parts.push(part({ case: 'text', value: content }));
  } else if (Array.isArray(content)) {
    for (const [index, item] of content.entries()) {
      parts.push(readPart(readObject(item, `${at}.content[${index}]`), `${at}.content[${index}]`));
    }
  } else if (isSet(content) || role !== Role.ASSISTANT) {
    throw wrong(`${at}.content`, 'must be a string or a list of content parts');
  }
}

function readPart(item: JsonObject, at: string): Part {
  const type = readText(item.type, `${at}.type`);
  const known = Object.hasOwn(partKeys, type) ? partKeys[type] : undefined;
  // A kind of part that OpenAI does not have is somebody's extension: it goes on as it is.
  if (!known) return part({ case: undefined }, JSON.stringify(item));
  return part(readKind(type, item, at), extrasOf(item, known), readCacheBreakpoint(item.prompt_cache_breakpoint, at));
}

function readKind(type: string, item: JsonObject, at: string): Part['kind'] {
  switch (type) {
    case 'image_url': {
      const image =
        typeof item.image_url === 'string' ? { url: item.image_url } : readObject(item.image_url, `${at}.image_url`);
      const url = readText(image.url, `${at}.image_url.url`);
      const detail = isSet(image.detail) ? readText(image.detail, `${at}.image_url.detail`) : '';
      return { case: 'image', value: media({ ...readImageUrl(url, `${at}.image_url.url`), detail }) };
    }
    case 'input_audio': {
      const audio = readObject(item.input_audio, `${at}.input_audio`);
      const format = readText(audio.format, `${at}.input_audio.format`);
      const data = readBase64(readText(audio.data, `${at}.input_audio.data`), `${at}.input_audio.data`);
      return { case: 'audio', value: media({ source: { case: 'data', value: data }, mimeType: `audio/${format}` }) };
    }
    case 'file':
      return { case: 'file', value: readFile(readObject(item.file, `${at}.file`), `${at}.file`) };
    case 'refusal':
      return { case: 'refusal', value: readText(item.refusal, `${at}.refusal`) };
    default:
      return { case: 'text', value: readText(item.text, `${at}.text`) };
  }
}

function readFile(file: JsonObject, at: string) {
  const name = isSet(file.filename) ? readText(file.filename, `${at}.filename`) : '';
  if (isSet(file.file_id)) {
    return media({ name, source: { case: 'fileId', value: readText(file.file_id, `${at}.file_id`) } });
  }
  const data = readText(file.file_data, `${at}.file_data`);
  if (/^data:/i.test(data)) return media({ name, ...readDataUrl(data, `${at}.file_data`) });
  return media({ name, source: { case: 'data', value: readBase64(data, `${at}.file_data`) } });
}

/** OpenAI's mark of the end of a prompt that is worth caching. */
export function readCacheBreakpoint(value: unknown, at: string): CacheBreakpoint | undefined {
  if (!isSet(value)) return undefined;
  const { ttl } = readObject(value, `${at}.prompt_cache_breakpoint`);
  return {
    $typeName: 'llmgateway.v1.CacheBreakpoint',
    ttl: isSet(ttl) ? readText(ttl, `${at}.prompt_cache_breakpoint.ttl`) : '',
  };
}

function addToolCalls(parts: Part[], message: JsonObject, messageIndex: number, at: string): void {
  if (isSet(message.tool_calls)) {
    for (const [index, item] of readList(message.tool_calls, `${at}.tool_calls`).entries()) {
      parts.push(readToolCall(readObject(item, `${at}.tool_calls[${index}]`), `${at}.tool_calls[${index}]`));
    }
  }
  if (isSet(message.function_call)) {
    const call = readObject(message.function_call, `${at}.function_call`);
    const value = toolCall(madeUpId(messageIndex), call.name, call.arguments, `${at}.function_call`);
    parts.push(part({ case: 'toolCall', value }));
  }
}

function readToolCall(item: JsonObject, at: string): Part {
  const id = readText(item.id, `${at}.id`);
  const extras = extrasOf(item, toolCallKeys);
  if (item.type === 'custom') {
    const { name, input } = readObject(item.custom, `${at}.custom`);
    const value: ToolCall = {
      $typeName: 'llmgateway.v1.ToolCall',
      id,
      name: readText(name, `${at}.custom.name`),
      arguments: readText(input, `${at}.custom.input`),
      custom: true,
    };
    return part({ case: 'toolCall', value }, extras);
  }
  if (isSet(item.type) && item.type !== 'function') readWord(item.type, `${at}.type`, { function: 0, custom: 0 });
  const called = readObject(item.function, `${at}.function`);
  return part({ case: 'toolCall', value: toolCall(id, called.name, called.arguments, `${at}.function`) }, extras);
}

function toolCall(id: string, name: unknown, args: unknown, at: string): ToolCall {
  return {
    $typeName: 'llmgateway.v1.ToolCall',
    id,
    name: readText(name, `${at}.name`),
    arguments: (isSet(args) ? readText(args, `${at}.arguments`) : '') || '{}',
    custom: false,
  };
}

/** The id of a legacy `function_call`, which has none: made of its message's place, so that a repeated request stays the same. */
function madeUpId(messageIndex: number): string {
  return `call_${messageIndex}`;
}

function readToolCallId(message: JsonObject, before: readonly Message[], at: string): string {
  if (isSet(message.tool_call_id)) return readText(message.tool_call_id, `${at}.tool_call_id`);
  if (message.role !== 'function') return '';
  const name = readText(message.name, `${at}.name`);
  for (let index = before.length - 1; index >= 0; index--) {
    for (const { kind } of before[index]?.parts ?? []) {
      if (kind.case === 'toolCall' && kind.value.name === name) return kind.value.id;
    }
  }
  throw wrong(`${at}.name`, `no message before this one calls the function ${JSON.stringify(name)}`);
}
