import type { CompletionEvent } from '../../gen/llmgateway/v1/completion_pb.ts';
import {
  choiceFinished,
  extra,
  mediaDelta,
  reasoningDelta,
  refusalDelta,
  textDelta,
  toolCallDelta,
} from '../completion.ts';
import { withoutHalfPair } from './half-pair.ts';
import { isObject, type JsonObject, textOf } from './json-value.ts';
import { readCitation } from './openai-citations.ts';
import { readFinishReason } from './openai-finish-reason.ts';
import { readImage, readSound } from './openai-media.ts';
import { mergeReasoningDetails } from './openai-reasoning-details.ts';
import { readTokenLogprobs } from './token-logprobs.ts';
import { makeToolCallId } from './tool-call-id.ts';

const family = 'openai';

type TextKind = 'text' | 'reasoning' | 'refusal';

/** A part that is being told. */
interface OpenPart {
  readonly kind: TextKind | 'toolCall' | 'media' | 'block';
  readonly index: number;
  /** The first half of a surrogate pair, of which the next chunk brings the second. */
  held: string;
}

interface OpenCall {
  /** `index` of the wire, as far as there is one. */
  readonly key: unknown;
  /** The provider's id; empty: it gave none. */
  readonly givenId: string;
  readonly custom: boolean;
  name: string;
  /** Unset until the name is known: the first delta must have it. */
  part: OpenPart | undefined;
  /** Arguments that came before the name. */
  waiting: string;
  blank: boolean;
}

/** Keys of a message or delta that are read; all others are extras. `role` and `index` say nothing. */
const knownKeys = new Set([
  'role',
  'index',
  'content',
  'reasoning',
  'reasoning_content',
  'reasoning_details',
  'refusal',
  'audio',
  'images',
  'tool_calls',
  'function_call',
  'annotations',
]);

const knownCallKeys = new Set(['index', 'id', 'type', 'function', 'custom']);

/** One choice of an answer: reads what the wire says of it into events, in parts that are numbered as they appear. */
export class OpenAIChoice {
  readonly index: number;
  /** The provider's word for why it ended; undefined: it has not. */
  finishWord: string | undefined;
  readonly #events: CompletionEvent[];
  readonly #audioType: string;
  #parts = 0;
  #current: OpenPart | undefined;
  #texts = 0;
  #lastText: number | undefined;
  #lastReasoning: number | undefined;
  #sound: OpenPart | undefined;
  #soundExtras: JsonObject | undefined;
  readonly #calls: OpenCall[] = [];
  readonly #said = new Map<string, string>();
  readonly #annotations: unknown[] = [];
  #reasoningDetails: JsonObject[] = [];
  #extras: JsonObject | undefined;

  constructor(index: number, events: CompletionEvent[], audioType: string) {
    this.index = index;
    this.#events = events;
    this.#audioType = audioType;
  }

  /** Keep a key of the choice that has no field, for its end. */
  note(key: string, value: unknown): void {
    if (value === null || value === undefined) return;
    this.#extras ??= {};
    this.#extras[key] = value;
  }

  /** Read what a chunk adds to the message, or the whole message: they have the same keys. */
  readMessage(message: JsonObject, isChunk: boolean): void {
    const reasoning = textOf(message.reasoning_content) || textOf(message.reasoning);
    if (reasoning) this.#addText('reasoning', reasoning);
    if (Array.isArray(message.reasoning_details)) this.#readDetails(message.reasoning_details, reasoning === '');
    const { content } = message;
    if (typeof content === 'string') {
      if (content !== '') this.#addText('text', content);
    } else if (Array.isArray(content)) for (const block of content) this.#readBlock(block);
    if (message.refusal) this.#addText('refusal', textOf(message.refusal));
    if (isObject(message.audio)) this.#readSound(message.audio);
    if (Array.isArray(message.images)) for (const image of message.images) this.#readImage(image);
    if (Array.isArray(message.tool_calls)) for (const call of message.tool_calls) this.#readCall(call);
    if (isObject(message.function_call)) this.#readCall({ index: 'legacy', function: message.function_call });
    if (Array.isArray(message.annotations)) this.#annotations.push(...message.annotations);
    this.#readRest(message, knownKeys, isChunk ? this.#current?.index : undefined);
  }

  readLogprobs({ content, refusal }: JsonObject): void {
    const value = {
      $typeName: 'llmgateway.v1.LogprobsDelta' as const,
      choiceIndex: this.index,
      content: readTokenLogprobs(content),
      refusal: readTokenLogprobs(refusal),
    };
    if (value.content.length + value.refusal.length === 0) return;
    this.#events.push({ $typeName: 'llmgateway.v1.CompletionEvent', event: { case: 'logprobs', value } });
  }

  /** Whether a tool call never told which tool it calls. */
  get hasNamelessCall(): boolean {
    return this.#calls.some(({ part, givenId, waiting }) => !part && (givenId !== '' || waiting !== ''));
  }

  /** Nothing more comes: say what had to wait for that. */
  finish(): void {
    this.#letGo(this.#current);
    for (const call of this.#calls) {
      if (!call.part) continue;
      this.#letGo(call.part);
      if (call.blank && !call.custom) this.#events.push(toolCallDelta(this.index, call.part.index, '{}'));
    }
    if (this.#reasoningDetails.length > 0)
      this.#extra({ reasoning_details: this.#reasoningDetails }, this.#lastReasoning);
    if (this.#soundExtras) this.#extra({ audio: this.#soundExtras }, this.#sound?.index);
    this.#finishAnnotations();
    const word = this.finishWord ?? '';
    const extraJson = this.#extras && { [family]: JSON.stringify(this.#extras) };
    const reason = readFinishReason(
      word || 'stop',
      this.#calls.some(({ part }) => part),
    );
    this.#events.push(choiceFinished(this.index, reason, word, extraJson && { extraJson }));
  }

  #extra(object: JsonObject, partIndex?: number): void {
    this.#events.push(extra(family, JSON.stringify(object), this.index, partIndex));
  }

  /** Keys without a field belong to the part they came with, else to the message. They are said again only when they change. */
  #readRest(object: JsonObject, known: ReadonlySet<string>, partIndex: number | undefined): void {
    let rest: JsonObject | undefined;
    for (const key in object) {
      if (known.has(key)) continue;
      const value = object[key];
      if (value === null) continue;
      const text = `${partIndex} ${typeof value === 'string' ? value : JSON.stringify(value)}`;
      if (this.#said.get(key) === text) continue;
      this.#said.set(key, text);
      rest ??= {};
      rest[key] = value;
    }
    if (rest) this.#extra(rest, partIndex);
  }

  // Parts.

  #open(kind: OpenPart['kind']): OpenPart {
    // A tool call may still go on beside another part; a text that is left does not come back.
    if (this.#current?.kind !== 'toolCall') this.#letGo(this.#current);
    const part = { kind, index: this.#parts++, held: '' };
    this.#current = part;
    if (kind === 'text') {
      this.#lastText = part.index;
      this.#texts++;
    } else if (kind === 'reasoning') this.#lastReasoning = part.index;
    return part;
  }

  #addText(kind: TextKind, text: string): void {
    const part = this.#current?.kind === kind ? this.#current : this.#open(kind);
    const ready = withoutHalfPair(part, text);
    if (ready !== '') this.#tell(part, ready);
  }

  #tell({ kind, index }: OpenPart, text: string): void {
    if (kind === 'text') this.#events.push(textDelta(this.index, index, text));
    else if (kind === 'reasoning') this.#events.push(reasoningDelta(this.index, index, text));
    else if (kind === 'refusal') this.#events.push(refusalDelta(this.index, index, text));
    else if (kind === 'toolCall') this.#events.push(toolCallDelta(this.index, index, text));
  }

  /** The second half of the character never came. */
  #letGo(part: OpenPart | undefined): void {
    if (!part?.held) return;
    part.held = '';
    this.#tell(part, '\ufffd');
  }

  /** Mistral says content as a list of blocks once its model reasons. */
  #readBlock(block: unknown): void {
    if (typeof block === 'string') {
      if (block !== '') this.#addText('text', block);
    } else if (isObject(block)) {
      if (block.type === 'text') {
        if (block.text) this.#addText('text', textOf(block.text));
      } else if (block.type === 'thinking' || block.type === 'reasoning') {
        const text = Array.isArray(block.thinking)
          ? block.thinking.map((piece) => (isObject(piece) ? textOf(piece.text) : '')).join('')
          : textOf(block.thinking ?? block.text);
        if (text) this.#addText('reasoning', text);
      } else this.#extra(block, this.#open('block').index);
    }
  }

  /** Reasoning that a client has to send back: it is joined, and said whole at the end. */
  #readDetails(details: readonly unknown[], tellText: boolean): void {
    for (const detail of details) {
      if (!isObject(detail)) continue;
      const text = tellText ? textOf(detail.text) || textOf(detail.summary) : '';
      if (text) this.#addText('reasoning', text);
      // An encrypted one has no text, but its place among the parts.
      else if (this.#lastReasoning === undefined) {
        const { index } = this.#open('reasoning');
        this.#events.push(reasoningDelta(this.index, index, ''));
      }
    }
    this.#reasoningDetails = mergeReasoningDetails(this.#reasoningDetails, details);
  }

  #readImage(image: unknown): void {
    const media = readImage(image);
    if (!media) return;
    const { index } = this.#open('media');
    this.#events.push(mediaDelta(this.index, index, { case: 'image', value: media }));
  }

  #readSound({ data, transcript, ...rest }: JsonObject): void {
    this.#sound ??= this.#open('media');
    const value = readSound(textOf(data), textOf(transcript), this.#audioType);
    if (data || transcript) this.#events.push(mediaDelta(this.index, this.#sound.index, { case: 'audio', value }));
    if (Object.keys(rest).length > 0) this.#soundExtras = { ...this.#soundExtras, ...rest };
  }

  // Tool calls.

  #readCall(delta: unknown): void {
    if (!isObject(delta)) return;
    const body = isObject(delta.function) ? delta.function : isObject(delta.custom) ? delta.custom : {};
    const name = textOf(body.name);
    const call = this.#callOf(delta, name);
    call.name ||= name;
    const args = argumentsOf(body.arguments ?? body.input);
    if (args.trim() !== '') call.blank = false;
    if (!call.part) {
      call.waiting += args;
      if (call.name) this.#openCall(call);
    } else if (args !== '') {
      const ready = withoutHalfPair(call.part, args);
      if (ready !== '') this.#tell(call.part, ready);
    }
    if (!call.part) return;
    this.#current = call.part;
    this.#readRest(delta, knownCallKeys, call.part.index);
  }

  /**
   * The call that a delta belongs to: that of its index, but a new id under an old index is a new call (Ollama says 0 for
   * all). Without an index an id or a name opens a call, and everything else goes on with the last one (Mistral).
   */
  #callOf(delta: JsonObject, name: string): OpenCall {
    const { index } = delta;
    const id = textOf(delta.id);
    const known =
      index === undefined || index === null
        ? id
          ? this.#calls.find(({ givenId }) => givenId === id)
          : name
            ? undefined
            : this.#calls.at(-1)
        : this.#calls.findLast(({ key, givenId }) => key === index && (id === '' || givenId === '' || givenId === id));
    if (known) return known;
    const custom = delta.type === 'custom' || isObject(delta.custom);
    const call = { key: index, givenId: id, custom, name: '', part: undefined, waiting: '', blank: true };
    this.#calls.push(call);
    return call;
  }

  #openCall(call: OpenCall): void {
    call.part = this.#open('toolCall');
    const id = call.givenId || makeToolCallId();
    const ready = withoutHalfPair(call.part, call.waiting);
    this.#events.push(toolCallDelta(this.index, call.part.index, ready, { id, name: call.name, custom: call.custom }));
  }

  // What waits for the end.

  /** The wire counts from the start of all content: with several texts, a place in it is no place in one of them. */
  #finishAnnotations(): void {
    const others: unknown[] = [];
    for (const annotation of this.#annotations) {
      const citation = readCitation(annotation, this.#texts === 1);
      if (!citation || this.#lastText === undefined) {
        others.push(annotation);
        continue;
      }
      const { index: choiceIndex } = this;
      const partIndex = this.#lastText;
      const value = { $typeName: 'llmgateway.v1.CitationAdded' as const, choiceIndex, partIndex, citation };
      this.#events.push({ $typeName: 'llmgateway.v1.CompletionEvent', event: { case: 'citation', value } });
    }
    if (others.length > 0) this.#extra({ annotations: others });
  }
}

/** Arguments are text; some servers send the object that it should be the text of. */
function argumentsOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return isObject(value) ? JSON.stringify(value) : '';
}
