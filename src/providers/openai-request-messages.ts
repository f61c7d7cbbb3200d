import {
  type Media,
  type Message,
  type Part,
  Role,
  type Tool,
  type ToolCall,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import type { ExtrasReader } from './extras.ts';
import { array, member, object, objectOver, rawMember } from './json-text.ts';
import type { OpenAIDialect } from './openai-dialect.ts';

/** What writing a piece of a request needs to know and to tell. */
export interface Writing {
  readonly dialect: OpenAIDialect;
  readonly extras: ExtrasReader;
  /** Names what has no place on this wire: a part or a tool, and what of it. */
  readonly refuse: (item: Part | Tool, field: string) => void;
}

/** What answers carry in their messages and no request takes back: Groq refuses the whole request for one of them. */
const answerOnlyKeys = ['annotations', 'channel', 'executed_tools', 'index', 'provider_metadata', 'audio'];

/** Write the conversation as OpenAI's list of messages. */
export function writeMessages(messages: readonly Message[], writing: Writing): string {
  return array(messages.map((message) => writeMessage(message, writing)));
}

function writeMessage(message: Message, writing: Writing): string {
  const { dialect, extras } = writing;
  if (message.role === Role.ASSISTANT) return writeAssistant(message, writing);
  const own = extras.read(message.extraJson, 'messages');
  if (message.role === Role.TOOL) {
    // The wire has no word for it; what the tool said has to tell that it failed.
    if (message.toolFailed) extras.leaveOut('messages.tool_failed');
    const id = member('tool_call_id', message.toolCallId);
    return objectOver(own, member('role', 'tool'), id, writeContent(message, writing));
  }
  const role = member('role', roleWord(message.role, dialect));
  return objectOver(own, role, writeName(message, dialect), writeContent(message, writing));
}

function roleWord(role: Role, { developerRole }: OpenAIDialect): string {
  if (role === Role.USER) return 'user';
  return role === Role.DEVELOPER && developerRole ? 'developer' : 'system';
}

function writeName({ name }: Message, { unknownHints }: OpenAIDialect): string {
  return unknownHints.has('name') ? '' : member('name', name || undefined);
}

/** A single plain text is a string: not every server takes a list. */
function writeContent({ parts, role }: Message, writing: Writing): string {
  const [only] = parts;
  if (!only) return member('content', '');
  const plain = parts.length === 1 && Object.keys(only.extraJson).length === 0 && !breakpointOf(only, writing);
  if (plain && only.kind.case === 'text') return member('content', only.kind.value);
  const written = parts.map((part) => writePart(part, role, writing)).filter(Boolean);
  return written.length > 0 ? rawMember('content', array(written)) : member('content', '');
}

function breakpointOf({ cacheBreakpoint }: Part, { dialect }: Writing): object | undefined {
  if (!cacheBreakpoint || dialect.unknownHints.has('prompt_cache_breakpoint')) return undefined;
  // Only these two are words of OpenAI; other providers' words mean its default.
  return { mode: 'explicit', ttl: /^(30m|12h)$/.test(cacheBreakpoint.ttl) ? cacheBreakpoint.ttl : undefined };
}

/** A content part; empty where there is none to write. */
function writePart(part: Part, role: Role, writing: Writing): string {
  const own = writing.extras.read(part.extraJson, 'messages.parts');
  const { kind } = part;
  const breakpoint = member('prompt_cache_breakpoint', breakpointOf(part, writing));
  switch (kind.case) {
    case undefined:
      return own ? objectOver(own) : '';
    case 'text':
      return objectOver(own, member('type', 'text'), member('text', kind.value), breakpoint);
    case 'image':
    case 'audio':
    case 'file': {
      if (!writing.dialect.takesMedia(kind.case, role)) {
        writing.refuse(part, kind.case);
        return '';
      }
      const written = writeMedia(kind.case, kind.value);
      if (written) return objectOver(own, ...written, breakpoint);
      const source = kind.value.source.case ?? 'source';
      writing.refuse(part, `${kind.case}.${source === 'fileId' ? 'file_id' : source}`);
      return '';
    }
    default:
      return '';
  }
}

/** An image by address or bytes, a sound by bytes, a file by bytes or id; undefined: the wire has no place for it. */
function writeMedia(kind: 'image' | 'audio' | 'file', media: Media): string[] | undefined {
  const { source, mimeType, name, detail } = media;
  if (kind === 'image' && (source.case === 'url' || source.case === 'data')) {
    const url = source.case === 'url' ? source.value : dataUrl(source.value, mimeType || 'image/png');
    return [member('type', 'image_url'), member('image_url', { url, detail: detail || undefined })];
  }
  if (kind === 'audio' && source.case === 'data') {
    const format = audioFormats[mimeType] ?? mimeType.slice(mimeType.indexOf('/') + 1);
    const sound = { data: base64(source.value), format: format || 'wav' };
    return [member('type', 'input_audio'), member('input_audio', sound)];
  }
  if (kind === 'file' && source.case === 'fileId') {
    return [member('type', 'file'), member('file', { file_id: source.value })];
  }
  if (kind === 'file' && source.case === 'data') {
    const file = {
      filename: name || undefined,
      file_data: dataUrl(source.value, mimeType || 'application/octet-stream'),
    };
    return [member('type', 'file'), member('file', file)];
  }
  return undefined;
}

const audioFormats: Readonly<Record<string, string>> = {
  'audio/mpeg': 'mp3',
  'audio/x-wav': 'wav',
  'audio/wave': 'wav',
  'audio/L16': 'pcm16',
  'audio/pcm': 'pcm16',
};

function base64(data: Uint8Array): string {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64');
}

function dataUrl(data: Uint8Array, mimeType: string): string {
  return `data:${mimeType};base64,${base64(data)}`;
}

/**
 * A turn of the model. Its texts join into `content` and its tool calls follow: the wire has no place for their order.
 *
 * Extras of reasoning, text and sound came from the message, and go back there.
 */
function writeAssistant(message: Message, writing: Writing): string {
  const { dialect, extras } = writing;
  let beside = extras.read(message.extraJson, 'messages');
  let audioId: unknown;
  const texts = new Map<'text' | 'reasoning' | 'refusal', string>();
  const listed: string[] = [];
  const calls: string[] = [];
  for (const part of message.parts) {
    const { kind } = part;
    if (kind.case === 'toolCall') {
      const own = extras.read(part.extraJson, 'messages.parts');
      const isUnknown = kind.value.custom && dialect.unsupported.has('tools.custom');
      if (isUnknown) writing.refuse(part, 'tool_call.custom');
      // Its result would hang in the air without it.
      const written = writeToolCall(isUnknown ? asFunctionCall(kind.value) : kind.value);
      calls.push(objectOver(own && withoutAnswerOnly(own, dialect), ...written));
    } else if (kind.case === 'text' || kind.case === 'reasoning' || kind.case === 'refusal') {
      const asWhat = kind.case === 'refusal' && !dialect.refusals ? 'text' : kind.case;
      texts.set(asWhat, (texts.get(asWhat) ?? '') + kind.value);
      const own = extras.read(part.extraJson, 'messages.parts');
      if (own) beside = { ...beside, ...own };
      if (asWhat === 'text') listed.push(object(member('type', 'text'), member('text', kind.value)));
    } else if (kind.case === 'audio') {
      audioId = kind.value.source.case === 'fileId' ? kind.value.source.value : spokenId(part, writing);
      if (!audioId) writing.refuse(part, 'audio');
    } else listed.push(writePart(part, message.role, writing));
  }
  const reasoning = texts.get('reasoning');
  if (reasoning && !dialect.reasoningName) extras.leaveOut('messages.parts.reasoning');
  return objectOver(
    beside && withoutAnswerOnly(beside, dialect),
    member('role', 'assistant'),
    writeName(message, dialect),
    writeAssistantContent(texts.get('text'), listed.filter(Boolean), calls.length > 0 || audioId !== undefined),
    dialect.reasoningName && reasoning ? member(dialect.reasoningName, reasoning) : '',
    member('refusal', texts.get('refusal')),
    audioId ? member('audio', { id: audioId }) : '',
    calls.length > 0 ? rawMember('tool_calls', array(calls)) : '',
  );
}

function writeAssistantContent(text: string | undefined, listed: readonly string[], somethingElse: boolean): string {
  const onlyText = listed.every((part) => part.startsWith('{"type":"text"'));
  if (!onlyText) return rawMember('content', array(listed));
  return member('content', text ?? (somethingElse ? null : ''));
}

function asFunctionCall(call: ToolCall): ToolCall {
  return { ...call, custom: false, arguments: JSON.stringify({ input: call.arguments }) };
}

function writeToolCall({ id, name, arguments: args, custom }: ToolCall): string[] {
  if (custom) return [member('id', id), member('type', 'custom'), member('custom', { name, input: args })];
  return [member('id', id), member('type', 'function'), member('function', { name, arguments: args || '{}' })];
}

/** The id under which the provider keeps what it said itself. */
function spokenId(part: Part, { extras }: Writing): unknown {
  const audio = extras.read(part.extraJson, 'messages.parts')?.audio;
  return typeof audio === 'object' && audio !== null && 'id' in audio ? audio.id : undefined;
}

function withoutAnswerOnly(extras: Record<string, unknown>, dialect: OpenAIDialect): Record<string, unknown> {
  const kept = { ...extras };
  for (const key of answerOnlyKeys) delete kept[key];
  // Who does not take reasoning back does not know its details either, nor other providers' signatures.
  if (dialect.reasoningName !== 'reasoning_content') {
    delete kept.reasoning_details;
    delete kept.extra_content;
  }
  return kept;
}
