import type { Citation, CompletionEvent } from '../../gen/llmgateway/v1/completion_pb.ts';
import { extra, reasoningDelta, textDelta, toolCallDelta } from '../completion.ts';
import { readCitation } from './anthropic-citations.ts';
import { withoutHalfPair } from './half-pair.ts';
import { isObject, type JsonObject, textOf } from './json-value.ts';
import { makeToolCallId } from './tool-call-id.ts';

/** Where the blocks of one answer tell what they read. */
export interface Telling {
  readonly events: CompletionEvent[];
  /** Take the number of the next part: a block takes one with the first thing that it tells. */
  readonly nextPart: () => number;
}

/** One content block while it is read: it becomes a part of the answer. */
export interface OpenBlock {
  /** Read what a delta adds. Blocks of whole answers have none. */
  add(delta: JsonObject): void;
  /** Nothing more comes: tell what had to wait for that. */
  end(): void;
}

/** Begin to read a block. */
export function openBlock(block: JsonObject, telling: Telling): OpenBlock {
  switch (block.type) {
    case 'text':
      return new TextBlock(block, 'text', telling);
    case 'thinking':
    case 'redacted_thinking':
      return new TextBlock(block, 'thinking', telling);
    case 'tool_use':
      return new ToolUseBlock(block, telling);
    default:
      return new OpaqueBlock(block, telling);
  }
}

const family = 'anthropic';

/** The keys of a block that have no field. */
function restOf(block: JsonObject, known: readonly string[]): JsonObject {
  return Object.fromEntries(
    Object.entries(block).filter(([key, value]) => !known.includes(key) && value !== null && value !== ''),
  );
}

/** Text, or thoughts: their signature, and thoughts that are not shown, are extras of an otherwise empty part. */
class TextBlock implements OpenBlock {
  readonly #key: 'text' | 'thinking';
  readonly #telling: Telling;
  readonly #rest: JsonObject;
  readonly #citations: Citation[] = [];
  /** The first half of a surrogate pair, of which the next delta brings the second. */
  held = '';
  #part: number | undefined;

  constructor(block: JsonObject, key: 'text' | 'thinking', telling: Telling) {
    this.#key = key;
    this.#telling = telling;
    this.#rest = restOf(block, ['type', key, 'citations']);
    this.#addText(textOf(block[key]));
    if (Array.isArray(block.citations)) for (const citation of block.citations) this.#addCitation(citation);
  }

  add(delta: JsonObject): void {
    this.#addText(textOf(delta[this.#key]));
    if (delta.citation) this.#addCitation(delta.citation);
    const signature = textOf(delta.signature);
    if (signature !== '') this.#rest.signature = textOf(this.#rest.signature) + signature;
  }

  end(): void {
    if (this.held !== '') this.#tell('\ufffd');
    const hasRest = Object.keys(this.#rest).length > 0;
    if (this.#part === undefined && (hasRest || this.#citations.length > 0)) this.#tell('');
    if (this.#part === undefined) return;
    const { events } = this.#telling;
    // They came before the text that they are about, and are about all of it.
    for (const citation of this.#citations) {
      const value = {
        $typeName: 'llmgateway.v1.CitationAdded' as const,
        choiceIndex: 0,
        partIndex: this.#part,
        citation,
      };
      events.push({ $typeName: 'llmgateway.v1.CompletionEvent', event: { case: 'citation', value } });
    }
    if (hasRest) events.push(extra(family, JSON.stringify(this.#rest), 0, this.#part));
  }

  #addText(text: string): void {
    const ready = text === '' ? '' : withoutHalfPair(this, text);
    if (ready !== '') this.#tell(ready);
  }

  #addCitation(value: unknown): void {
    const citation = readCitation(value);
    if (citation) this.#citations.push(citation);
  }

  #tell(text: string): void {
    this.#part ??= this.#telling.nextPart();
    const delta = this.#key === 'text' ? textDelta : reasoningDelta;
    this.#telling.events.push(delta(0, this.#part, text));
  }
}

class ToolUseBlock implements OpenBlock {
  readonly #block: JsonObject;
  readonly #telling: Telling;
  readonly #part: number;
  held = '';
  #blank = true;

  constructor(block: JsonObject, telling: Telling) {
    this.#block = block;
    this.#telling = telling;
    this.#part = telling.nextPart();
    const opening = { id: textOf(block.id) || makeToolCallId(), name: textOf(block.name) };
    telling.events.push(toolCallDelta(0, this.#part, '', opening));
  }

  add({ partial_json }: JsonObject): void {
    const text = textOf(partial_json);
    if (text.trim() !== '') this.#blank = false;
    if (text !== '') this.#tell(withoutHalfPair(this, text));
  }

  /** The block brings the input whole where no deltas do; a tool without arguments has neither. */
  end(): void {
    if (this.held !== '') this.#tell('\ufffd');
    if (this.#blank) this.#tell(JSON.stringify(isObject(this.#block.input) ? this.#block.input : {}).toWellFormed());
    const rest = restOf(this.#block, ['type', 'id', 'name', 'input']);
    if (Object.keys(rest).length > 0) {
      this.#telling.events.push(extra(family, JSON.stringify(rest), 0, this.#part));
    }
  }

  #tell(text: string): void {
    if (text !== '') this.#telling.events.push(toolCallDelta(0, this.#part, text));
  }
}

/** Tools that the provider runs itself, their results, and whatever is new: kept whole and verbatim. */
class OpaqueBlock implements OpenBlock {
  readonly #block: JsonObject;
  readonly #telling: Telling;
  #input = '';

  constructor(block: JsonObject, telling: Telling) {
    this.#block = { ...block };
    this.#telling = telling;
  }

  add({ type, partial_json, ...rest }: JsonObject): void {
    this.#input += textOf(partial_json);
    for (const [key, value] of Object.entries(rest)) {
      const before = this.#block[key];
      this.#block[key] = typeof before === 'string' && typeof value === 'string' ? before + value : value;
    }
  }

  end(): void {
    if (this.#input.trim() !== '') this.#block.input = readInput(this.#input);
    const { events, nextPart } = this.#telling;
    events.push(extra(family, JSON.stringify(this.#block), 0, nextPart()));
  }
}

/** An answer that was cut off may end within an input. */
function readInput(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return {};
  }
}
