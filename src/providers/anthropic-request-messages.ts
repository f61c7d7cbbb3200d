import {
  type CacheBreakpoint,
  type CompletionRequest,
  type Message,
  type Part,
  Role,
  type Tool,
  type ToolCall,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { writeCitation } from './anthropic-citations.ts';
import { writeMedia } from './anthropic-media.ts';
import type { ExtrasReader } from './extras.ts';
import { array, member, object, objectOver, rawMember } from './json-text.ts';
import { isObject } from './json-value.ts';

/** What writing a piece of a request needs to know and to tell. */
export interface Writing {
  readonly extras: ExtrasReader;
  /** Names what of a part or a tool has no place on this wire. */
  readonly refuse: (item: Part | Tool, field: string) => void;
}

/** The conversation as the wire has it. */
export interface WrittenMessages {
  /** A list of blocks, as JSON text; empty: there are no instructions. */
  readonly system: string;
  readonly messages: string;
  /**
   * Whether the model may think before it goes on: a turn that goes on must have begun with thoughts, and a client that did
   * not send them back has lost them.
   */
  readonly mayThink: boolean;
}

interface Block {
  readonly kind: Part['kind']['case'];
  readonly json: string;
}

/** What one side says before the other does: messages of the same role in a row are one turn. */
interface Turn {
  readonly role: 'user' | 'assistant' | 'system';
  /** Results of tools have to come first. */
  readonly results: string[];
  readonly blocks: Block[];
}

/**
 * Write the conversation as Anthropic's `system` and `messages`.
 *
 * Instructions stand apart from the conversation, wherever they were given, but for blocks of Anthropic's own: those mean
 * their place.
 */
export function writeMessages({ messages }: CompletionRequest, writing: Writing): WrittenMessages {
  const system: string[] = [];
  const turns: Turn[] = [];
  const turnOf = (role: Turn['role']): Turn => {
    const last = turns.at(-1);
    if (last?.role === role) return last;
    const turn: Turn = { role, results: [], blocks: [] };
    turns.push(turn);
    return turn;
  };
  for (const message of messages) {
    if (message.role === Role.TOOL) {
      turnOf('user').results.push(writeToolResult(message, writing));
      continue;
    }
    writing.extras.read(message.extraJson, 'messages');
    const blocks = writeParts(message, writing);
    if (blocks.length === 0) continue;
    if (message.role === Role.USER) turnOf('user').blocks.push(...blocks);
    else if (message.role === Role.ASSISTANT) turnOf('assistant').blocks.push(...blocks);
    else if (blocks.some(({ kind }) => kind === undefined)) turnOf('system').blocks.push(...blocks);
    else system.push(...blocks.map(({ json }) => json));
  }
  const written = turns.map(({ role, results, blocks }) =>
    object(member('role', role), rawMember('content', array([...results, ...blocks.map(({ json }) => json)]))),
  );
  return {
    system: system.length > 0 ? array(system) : '',
    messages: array(written),
    mayThink: mayThink(turns),
  };
}

function mayThink(turns: readonly Turn[]): boolean {
  const last = turns.findLast(({ role }) => role === 'assistant');
  if (!last) return true;
  const goesOn = last === turns.at(-1) || last.blocks.some(({ kind }) => kind === 'toolCall');
  return !goesOn || last.blocks[0]?.kind === 'reasoning';
}

function writeParts({ role, parts }: Message, writing: Writing): Block[] {
  return parts
    .map((part) => ({ kind: part.kind.case, json: writePart(part, role, writing) }))
    .filter(({ json }) => json !== '');
}

/** A content block; empty where there is none to write. */
function writePart(part: Part, role: Role, writing: Writing): string {
  const { kind } = part;
  const own = writing.extras.read(part.extraJson, 'messages.parts');
  // On any part of a result it means the result.
  const cache = role === Role.TOOL ? '' : writeCacheControl(part.cacheBreakpoint);
  switch (kind.case) {
    case undefined:
      return own ? objectOver(own, cache) : '';
    case 'text':
    case 'refusal':
      // A block of nothing but white space is refused, even one that the model itself made.
      if (kind.value.trim() === '') return '';
      return objectOver(own, member('type', 'text'), member('text', kind.value), writeCitations(part, writing), cache);
    case 'reasoning':
      if (own?.data !== undefined) return objectOver(own, member('type', 'redacted_thinking'));
      if (own?.signature !== undefined) {
        return objectOver(own, member('type', 'thinking'), member('thinking', kind.value));
      }
      // Unsigned thoughts are another provider's, or were lost on the way: they are refused.
      writing.extras.leaveOut('messages.parts.reasoning');
      return '';
    case 'toolCall':
      return objectOver(own, ...writeToolUse(kind.value), cache);
    default: {
      const takesMedia = role === Role.USER || role === Role.TOOL;
      const written = takesMedia ? writeMedia(kind.case, kind.value) : undefined;
      if (written) return objectOver(own, ...written, cache);
      writing.refuse(part, takesMedia && kind.case !== 'audio' ? `${kind.case}.mime_type` : kind.case);
      return '';
    }
  }
}

function writeCitations({ citations }: Part, { extras }: Writing): string {
  const written = citations.map((citation) => writeCitation(citation, extras)).filter(isObject);
  return written.length > 0 ? member('citations', written) : '';
}

/** Where the prompt up to here is to be cached, as a member of a block or a tool. */
export function writeCacheControl(breakpoint: CacheBreakpoint | undefined): string {
  if (!breakpoint) return '';
  // Only these two are words of Anthropic; other providers' words mean its default.
  const ttl = /^(5m|1h)$/.test(breakpoint.ttl) ? breakpoint.ttl : undefined;
  return member('cache_control', { type: 'ephemeral', ttl });
}

function writeToolUse({ id, name, arguments: args, custom }: ToolCall): string[] {
  return [
    member('type', 'tool_use'),
    member('id', toolUseId(id)),
    member('name', name),
    rawMember('input', custom ? object(member('input', args)) : writeInput(args)),
  ];
}

/** Arguments have to be an object here, also those which a model once got wrong. */
function writeInput(args: string): string {
  if (args.trim() === '') return '{}';
  try {
    if (isObject(JSON.parse(args))) return args;
  } catch {
    // Kept as a text below, like every other value that is no object.
  }
  return object(member('arguments', args));
}

/** Ids of other providers' calls may have characters that are refused here. */
function toolUseId(id: string): string {
  return id.replaceAll(/[^\w-]/g, '_');
}

function writeToolResult(message: Message, writing: Writing): string {
  const content = writeParts(message, writing).map(({ json }) => json);
  return objectOver(
    writing.extras.read(message.extraJson, 'messages'),
    member('type', 'tool_result'),
    member('tool_use_id', toolUseId(message.toolCallId)),
    rawMember('content', content.length > 0 ? array(content) : ''),
    member('is_error', message.toolFailed || undefined),
    writeCacheControl(message.parts.find(({ cacheBreakpoint }) => cacheBreakpoint)?.cacheBreakpoint),
  );
}
