import type { CompletionEvent, Media, MediaDelta, TokenLogprob } from '../../gen/llmgateway/v1/completion_pb.ts';
import { choiceFinished, extra, mediaDelta, reasoningDelta, textDelta, toolCallDelta } from '../completion.ts';
import { readCitations, type TextPart } from './gemini-citations.ts';
import { readFinishReason } from './gemini-finish-reason.ts';
import { geminiFamily } from './gemini-generations.ts';
import { PartialArguments } from './gemini-partial-arguments.ts';
import { withoutHalfPair } from './half-pair.ts';
import { isObject, type JsonObject, textOf } from './json-value.ts';
import { makeToolCallId } from './tool-call-id.ts';

/** A part that is being told. */
interface OpenPart {
  readonly kind: 'text' | 'reasoning' | 'toolCall' | 'media' | 'block';
  readonly index: number;
  /** The first half of a surrogate pair, of which the next chunk brings the second. */
  held: string;
  /** Of a text: what was told of it, for citations. */
  text: string;
  /** Of a sound: its media type, since more of the same goes on with it. */
  readonly soundType: string;
  /** Nothing more belongs to it. */
  closed: boolean;
}

/** Keys of a part that are read; all others are its extras. */
const partKeys = new Set(['text', 'thought', 'functionCall', 'inlineData', 'fileData']);

/** Keys of a candidate that are read; all others are extras of the choice. */
const candidateKeys = new Set(['index', 'content', 'finishReason', 'logprobsResult']);

/** One candidate of an answer: reads what the wire says of it into events, in parts that are numbered as they appear. */
export class GeminiCandidate {
  readonly index: number;
  /** Gemini's word for why it ended; empty: it has not. */
  finishWord = '';
  finishMessage = '';
  readonly #events: CompletionEvent[];
  readonly #texts: OpenPart[] = [];
  #parts = 0;
  #current: OpenPart | undefined;
  #calls = 0;
  /** The function call whose arguments are still coming. */
  #openCall: { readonly part: OpenPart; readonly args: PartialArguments } | undefined;
  #extras: JsonObject | undefined;

  constructor(index: number, events: CompletionEvent[]) {
    this.index = index;
    this.#events = events;
  }

  /** Read what a chunk says of the candidate, or the whole of it; tells what cannot be understood. */
  read(candidate: JsonObject): string | undefined {
    const { content, finishReason, finishMessage, logprobsResult } = candidate;
    for (const key in candidate) {
      if (candidateKeys.has(key) || candidate[key] === null) continue;
      this.#note(key, candidate[key]);
    }
    if (isObject(content) && Array.isArray(content.parts)) {
      for (const part of content.parts) {
        const complaint = isObject(part) ? this.#readPart(part) : undefined;
        if (complaint) return complaint;
      }
    }
    if (isObject(logprobsResult)) this.#readLogprobs(logprobsResult);
    if (typeof finishReason === 'string') this.finishWord = finishReason;
    if (typeof finishMessage === 'string') this.finishMessage = finishMessage;
    return undefined;
  }

  /** Nothing more comes: say what had to wait for that. */
  finish(): void {
    this.#closeCall();
    this.#letGo(this.#current);
    const texts: TextPart[] = this.#texts.map(({ index, text }) => ({ index, text }));
    const { groundingMetadata, citationMetadata } = this.#extras ?? {};
    for (const { partIndex, citation } of readCitations(texts, groundingMetadata, citationMetadata)) {
      const value = { $typeName: 'llmgateway.v1.CitationAdded' as const, choiceIndex: this.index, partIndex, citation };
      this.#events.push({ $typeName: 'llmgateway.v1.CompletionEvent', event: { case: 'citation', value } });
    }
    const reason = readFinishReason(this.finishWord, this.#calls > 0);
    const extraJson = this.#extras && { [geminiFamily]: JSON.stringify(this.#extras) };
    this.#events.push(choiceFinished(this.index, reason, this.finishWord, extraJson && { extraJson }));
  }

  /** Keep a key of the candidate that has no field, for its end. What comes in several chunks adds up by its own keys. */
  #note(key: string, value: unknown): void {
    this.#extras ??= {};
    const before = this.#extras[key];
    this.#extras[key] = isObject(before) && isObject(value) ? { ...before, ...value } : value;
  }

  #readPart(part: JsonObject): string | undefined {
    if (isObject(part.functionCall)) return this.#readCall(part, part.functionCall);
    this.#closeCall();
    // Drafts of an image model are no part of its answer, but go back with it.
    if (part.thought !== true && isObject(part.inlineData)) this.#readBytes(part, part.inlineData);
    else if (part.thought !== true && isObject(part.fileData)) this.#readAddress(part, part.fileData);
    else if (typeof part.text === 'string')
      this.#readText(part, part.text, part.thought === true ? 'reasoning' : 'text');
    else if (Object.keys(part).some((key) => key !== 'thought')) this.#tell(this.#open('block'), part);
    return undefined;
  }

  /** Pieces of a text make one part, until a signature closes it; an empty text is told for its signature only. */
  #readText(part: JsonObject, text: string, kind: 'text' | 'reasoning'): void {
    const extras = extrasOf(part);
    if (text === '' && !extras) return;
    const current = this.#current;
    const open = current?.kind === kind && !current.closed && text !== '' ? current : this.#open(kind);
    const ready = withoutHalfPair(open, text);
    if (ready !== '' || open !== current) this.#tellText(open, ready);
    if (!extras) return;
    this.#letGo(open);
    open.closed = true;
    this.#tell(open, extras);
  }

  #tellText(part: OpenPart, text: string): void {
    if (part.kind === 'text') part.text += text;
    const delta = part.kind === 'text' ? textDelta : reasoningDelta;
    this.#events.push(delta(this.index, part.index, text));
  }

  /** An image is whole; a sound comes in pieces. */
  #readBytes(part: JsonObject, { mimeType, data }: JsonObject): void {
    const type = textOf(mimeType);
    const isSound = type.startsWith('audio/');
    const current = this.#current;
    const open =
      isSound && current?.soundType === type && !current.closed ? current : this.#open('media', isSound ? type : '');
    const bytes = Uint8Array.from(Buffer.from(textOf(data), 'base64'));
    this.#tellMedia(open, media({ case: 'data', value: bytes }, type), part);
  }

  #readAddress(part: JsonObject, { mimeType, fileUri }: JsonObject): void {
    this.#tellMedia(this.#open('media'), media({ case: 'url', value: textOf(fileUri) }, textOf(mimeType)), part);
  }

  #tellMedia(open: OpenPart, value: Media, part: JsonObject): void {
    this.#events.push(mediaDelta(this.index, open.index, { case: mediaKind(value.mimeType), value }));
    const extras = extrasOf(part);
    if (!extras) return;
    open.closed = true;
    this.#tell(open, extras);
  }

  /** A call is whole, unless it says that it goes on: its arguments then follow by JSON path, and last a call without anything. */
  #readCall(part: JsonObject, call: JsonObject): string | undefined {
    const name = textOf(call.name);
    if (name !== '') {
      this.#closeCall();
      const open = this.#open('toolCall');
      const id = textOf(call.id) || makeToolCallId();
      this.#calls++;
      if (call.willContinue === true || Array.isArray(call.partialArgs)) {
        this.#openCall = { part: open, args: new PartialArguments(call.args) };
        this.#events.push(toolCallDelta(this.index, open.index, '', { id, name }));
      } else {
        const args = isObject(call.args) ? JSON.stringify(call.args) : '{}';
        this.#events.push(toolCallDelta(this.index, open.index, args, { id, name }));
      }
    } else if (!this.#openCall) return 'a tool call names no tool';
    const extras = extrasOf(part);
    const told = this.#openCall?.part ?? this.#current;
    if (extras && told) this.#tell(told, extras);
    if (Array.isArray(call.partialArgs)) {
      for (const piece of call.partialArgs) {
        if (!this.#openCall?.args.add(piece)) return 'a piece of the arguments of a tool call has no place';
      }
    }
    if (call.willContinue !== true) this.#closeCall();
    return undefined;
  }

  /** Arguments in pieces are told whole. */
  #closeCall(): void {
    if (!this.#openCall) return;
    const { part, args } = this.#openCall;
    this.#openCall = undefined;
    this.#events.push(toolCallDelta(this.index, part.index, args.toJson()));
  }

  #open(kind: OpenPart['kind'], soundType = ''): OpenPart {
    this.#letGo(this.#current);
    const part: OpenPart = { kind, index: this.#parts++, held: '', text: '', soundType, closed: false };
    if (kind === 'text') this.#texts.push(part);
    this.#current = part;
    return part;
  }

  /** The second half of the character never came. */
  #letGo(part: OpenPart | undefined): void {
    if (!part?.held) return;
    part.held = '';
    this.#tellText(part, '\ufffd');
  }

  #tell(part: OpenPart, extras: JsonObject): void {
    this.#events.push(extra(geminiFamily, JSON.stringify(extras), this.index, part.index));
  }

  #readLogprobs({ chosenCandidates, topCandidates }: JsonObject): void {
    if (!Array.isArray(chosenCandidates) || chosenCandidates.length === 0) return;
    const tops = Array.isArray(topCandidates) ? topCandidates : [];
    const content = chosenCandidates.map((chosen, place): TokenLogprob => {
      const top = tops[place];
      const others = isObject(top) && Array.isArray(top.candidates) ? top.candidates : [];
      return {
        $typeName: 'llmgateway.v1.TokenLogprob',
        ...readToken(chosen),
        topLogprobs: others.map((other) => ({ $typeName: 'llmgateway.v1.TopLogprob', ...readToken(other) })),
      };
    });
    const value = { $typeName: 'llmgateway.v1.LogprobsDelta' as const, choiceIndex: this.index, content, refusal: [] };
    this.#events.push({ $typeName: 'llmgateway.v1.CompletionEvent', event: { case: 'logprobs', value } });
  }
}

/** What a part holds beside what is read of it, its signature above all; undefined: nothing. */
function extrasOf(part: JsonObject): JsonObject | undefined {
  let extras: JsonObject | undefined;
  for (const key in part) {
    if (partKeys.has(key) || part[key] === null) continue;
    extras ??= {};
    extras[key] = part[key];
  }
  return extras;
}

function readToken(token: unknown): { token: string; logprob: number } {
  const { token: text, logProbability } = isObject(token) ? token : {};
  return {
    token: textOf(text).toWellFormed(),
    logprob: typeof logProbability === 'number' ? logProbability : 0,
  };
}

function mediaKind(mimeType: string): NonNullable<MediaDelta['media']['case']> {
  if (mimeType.startsWith('image/')) return 'image';
  return mimeType.startsWith('audio/') ? 'audio' : 'file';
}

function media(source: Media['source'], mimeType: string): Media {
  return { $typeName: 'llmgateway.v1.Media', source, mimeType, name: '', detail: '', transcript: '' };
}
