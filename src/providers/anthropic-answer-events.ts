import type { CompletionEvent, Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { choiceFinished, extra, finished, started, usage as usageEvent } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import type { AnswerReader } from './answer-loop.ts';
import { type OpenBlock, openBlock, type Telling } from './anthropic-answer-block.ts';
import { readStopReason } from './anthropic-stop-reason.ts';
import { mergeUsage, readUsage } from './anthropic-usage.ts';
import { isObject, type JsonObject, textOf } from './json-value.ts';

/** What is known before the first byte of an answer. */
export interface AnthropicAnswerOptions {
  readonly provider: string;
  /** The model that was asked: the answer's own word for it counts, where it has one. */
  readonly model: string;
  readonly droppedFields: readonly string[];
  /** Judges an error that stands in an answer with status 200. */
  readonly refusal: (body: unknown) => GatewayError;
}

const family = 'anthropic';

/** Keys of a message that are read, or say nothing; all others are extras. */
const knownKeys = new Set([
  'id',
  'type',
  'role',
  'model',
  'content',
  'stop_reason',
  'stop_sequence',
  'stop_details',
  'usage',
]);

/** The same of a chunk that changes the message. */
const deltaKeys = new Set(['type', 'delta', 'usage']);

/**
 * Reads one answer of Anthropic's messages, whole or in chunks, into events.
 *
 * There is one choice, and its blocks come one after another. The reason to stop comes after all of them: it is the proof that
 * the answer is complete.
 */
export class AnthropicAnswer implements AnswerReader {
  readonly events: CompletionEvent[] = [];
  readonly #options: AnthropicAnswerOptions;
  /** By the index of the wire, until they end. */
  readonly #blocks = new Map<unknown, OpenBlock>();
  readonly #telling: Telling = { events: this.events, nextPart: () => this.#parts++ };
  #parts = 0;
  #started = false;
  #callsTools = false;
  #stopReason: string | undefined;
  #stopSequence = '';
  #stopDetails: unknown;
  #usageSaid: JsonObject = {};
  #usage: Usage | undefined;
  #extras: JsonObject = {};

  constructor(options: AnthropicAnswerOptions) {
    this.#options = options;
  }

  readChunk(chunk: unknown): void {
    if (!isObject(chunk)) throw this.unreadable('a chunk is not a JSON object');
    switch (chunk.type) {
      case 'content_block_delta':
        if (isObject(chunk.delta)) this.#blocks.get(chunk.index)?.add(chunk.delta);
        break;
      case 'content_block_start':
        this.#endBlock(chunk.index);
        if (isObject(chunk.content_block)) this.#blocks.set(chunk.index, this.#open(chunk.content_block));
        break;
      case 'content_block_stop':
        this.#endBlock(chunk.index);
        break;
      case 'message_start':
        if (isObject(chunk.message)) this.#start(chunk.message);
        break;
      case 'message_delta':
        this.#readUsage(chunk.usage);
        if (isObject(chunk.delta)) this.#readStop(chunk.delta);
        this.#noteRest(chunk, deltaKeys);
        break;
      case 'error':
        throw this.#options.refusal(chunk);
    }
  }

  readWhole(body: unknown): void {
    if (!isObject(body)) throw this.unreadable('the answer is not a JSON object');
    if (body.type === 'error' || body.error) throw this.#options.refusal(body);
    if (!Array.isArray(body.content)) throw this.unreadable('the answer has no content');
    this.#start(body);
    this.#readStop(body);
    this.#stopReason ??= '';
  }

  end(): void {
    if (!this.#started || this.#stopReason === undefined) {
      throw this.unreadable('the answer ended before it was finished');
    }
    for (const index of this.#blocks.keys()) this.#endBlock(index);
    if (Object.keys(this.#extras).length > 0) this.events.push(extra(family, JSON.stringify(this.#extras)));
    const reason = readStopReason(this.#stopReason, this.#callsTools);
    const details = this.#stopDetails ? { [family]: JSON.stringify({ stop_details: this.#stopDetails }) } : {};
    this.events.push(
      choiceFinished(0, reason, this.#stopReason, { stopSequence: this.#stopSequence, extraJson: details }),
      finished(this.#usage),
    );
  }

  unreadable(what: string, cause?: unknown): GatewayError {
    const { provider } = this.#options;
    return new GatewayError('provider_protocol', `${provider}: ${what}`, { provider, cause });
  }

  /** A second start has been seen: only its usage counts. */
  #start(message: JsonObject): void {
    const again = this.#started;
    this.#started = true;
    if (!again) {
      const { model, droppedFields } = this.#options;
      this.events.push(started(textOf(message.model) || model, { droppedFields: [...droppedFields] }));
    }
    this.#readUsage(message.usage);
    if (again) return;
    this.#noteRest(message, knownKeys);
    if (!Array.isArray(message.content)) return;
    for (const block of message.content) if (isObject(block)) this.#open(block).end();
  }

  #open(block: JsonObject): OpenBlock {
    if (!this.#started) throw this.unreadable('a block came before its message');
    if (block.type === 'tool_use') {
      if (textOf(block.name) === '') throw this.unreadable('a tool call names no tool');
      this.#callsTools = true;
    }
    return openBlock(block, this.#telling);
  }

  #endBlock(index: unknown): void {
    this.#blocks.get(index)?.end();
    this.#blocks.delete(index);
  }

  #readStop(message: JsonObject): void {
    if (textOf(message.stop_reason) !== '') this.#stopReason = textOf(message.stop_reason);
    this.#stopSequence = textOf(message.stop_sequence).toWellFormed() || this.#stopSequence;
    this.#stopDetails = message.stop_details ?? this.#stopDetails;
    this.#noteRest(message, knownKeys);
  }

  #noteRest(from: JsonObject, known: ReadonlySet<string>): void {
    for (const key in from) if (!known.has(key) && from[key] !== null) this.#extras[key] = from[key];
  }

  #readUsage(said: unknown): void {
    this.#usageSaid = mergeUsage(this.#usageSaid, said);
    const read = readUsage(this.#usageSaid);
    if (!read || !this.#started) return;
    this.#usage = read.usage;
    if (read.rest) this.#extras.usage = read.rest;
    this.events.push(usageEvent(read.usage));
  }
}
