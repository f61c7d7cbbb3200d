import type { CompletionEvent, Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import {
  choiceFinished,
  extra,
  finished,
  reasoningDelta,
  started,
  textDelta,
  toolCallDelta,
  usage as usageEvent,
} from '../completion.ts';
import { GatewayError } from '../errors.ts';
import type { AnswerReader } from './answer-loop.ts';
import { withoutHalfPair } from './half-pair.ts';
import { isObject, type JsonObject, textOf } from './json-value.ts';
import { ollamaFamily } from './ollama-request-body.ts';
import { readOllamaUsage } from './ollama-usage.ts';
import { readFinishReason } from './openai-finish-reason.ts';
import { readTokenLogprobs } from './token-logprobs.ts';
import { makeToolCallId } from './tool-call-id.ts';

/** What is known before the first byte of an answer. */
export interface OllamaAnswerOptions {
  readonly provider: string;
  /** The model that was asked: the answer's own word for it counts, where it has one. */
  readonly model: string;
  readonly droppedFields: readonly string[];
  /** Judges an error that stands in an answer with status 200. */
  readonly refusal: (body: unknown) => GatewayError;
}

/** Keys of an answer that are read, or say nothing that lasts: all others are extras, the durations among them. */
const knownKeys = new Set([
  'model',
  'created_at',
  'message',
  'done',
  'done_reason',
  'logprobs',
  'prompt_eval_count',
  'eval_count',
  'error',
]);

const knownMessageKeys = new Set(['role', 'content', 'thinking', 'tool_calls']);

/** A text that is being told. */
interface OpenText {
  readonly kind: 'text' | 'reasoning';
  readonly index: number;
  /** The first half of a surrogate pair, of which the next line brings the second. */
  held: string;
}

/**
 * Reads one answer of `/api/chat`, whole or line by line, into events: they have the same keys.
 *
 * Each line adds to the message; the last says `done`, and is the only proof that nothing was cut off.
 */
export class OllamaAnswer implements AnswerReader {
  readonly events: CompletionEvent[] = [];
  readonly #options: OllamaAnswerOptions;
  /** What was last said under a key that has no field, to say it once. */
  readonly #said = new Map<string, string>();
  #started = false;
  #parts = 0;
  #text: OpenText | undefined;
  #calledTools = false;
  #usage: Usage | undefined;
  /** Why it ended; undefined: it has not. */
  #doneReason: string | undefined;

  constructor(options: OllamaAnswerOptions) {
    this.#options = options;
  }

  readChunk(line: unknown): void {
    if (!isObject(line)) throw this.unreadable('what it sent is not a JSON object');
    if (line.error) throw this.#options.refusal(line);
    if (!this.#started) {
      this.#started = true;
      const { model, droppedFields } = this.#options;
      this.events.push(started(textOf(line.model) || model, { droppedFields: [...droppedFields] }));
    }
    if (isObject(line.message)) this.#readMessage(line.message);
    if (Array.isArray(line.logprobs)) this.#readLogprobs(line.logprobs);
    this.#readRest(line, knownKeys, undefined);
    if (line.done === true) this.#readEnd(line);
  }

  readWhole(body: unknown): void {
    if (isObject(body) && !body.error && !isObject(body.message)) throw this.unreadable('the answer has no message');
    this.readChunk(body);
  }

  end(): void {
    if (this.#doneReason === undefined) throw this.unreadable('the answer ended before it was finished');
    this.#letGo();
    // Tools are called under the word `stop`; answers of old versions have no word at all.
    const reason = readFinishReason(this.#doneReason || 'stop', this.#calledTools);
    this.events.push(choiceFinished(0, reason, this.#doneReason), finished(this.#usage));
  }

  unreadable(what: string, cause?: unknown): GatewayError {
    const { provider } = this.#options;
    return new GatewayError('provider_protocol', `${provider}: ${what}`, { provider, cause });
  }

  #readMessage(message: JsonObject): void {
    this.#addText('reasoning', textOf(message.thinking));
    this.#addText('text', textOf(message.content));
    if (Array.isArray(message.tool_calls)) for (const call of message.tool_calls) this.#readCall(call);
    this.#readRest(message, knownMessageKeys, 0);
  }

  #addText(kind: OpenText['kind'], text: string): void {
    if (text === '') return;
    if (this.#text?.kind !== kind) {
      this.#letGo();
      this.#text = { kind, index: this.#parts++, held: '' };
    }
    this.#tell(this.#text, withoutHalfPair(this.#text, text));
  }

  #tell({ kind, index }: OpenText, text: string): void {
    if (text !== '') this.events.push(kind === 'text' ? textDelta(0, index, text) : reasoningDelta(0, index, text));
  }

  /** The open text goes on no more: the second half of its last character never came. */
  #letGo(): void {
    if (this.#text?.held) this.#tell(this.#text, '\ufffd');
    this.#text = undefined;
  }

  /** A call comes whole. Its index tells nothing: several calls may all have 0. */
  #readCall(call: unknown): void {
    const called = isObject(call) && isObject(call.function) ? call.function : {};
    const name = textOf(called.name);
    if (!isObject(call) || name === '') throw this.unreadable('a tool call names no tool');
    this.#letGo();
    this.#calledTools = true;
    const id = textOf(call.id) || makeToolCallId();
    this.events.push(toolCallDelta(0, this.#parts++, argumentsOf(called.arguments), { id, name }));
  }

  #readLogprobs(list: readonly unknown[]): void {
    const content = readTokenLogprobs(list);
    if (content.length === 0) return;
    const value = { $typeName: 'llmgateway.v1.LogprobsDelta' as const, choiceIndex: 0, content, refusal: [] };
    this.events.push({ $typeName: 'llmgateway.v1.CompletionEvent', event: { case: 'logprobs', value } });
  }

  /** Keep keys that have no field, unless they were said before. */
  #readRest(object: JsonObject, known: ReadonlySet<string>, choiceIndex: number | undefined): void {
    let rest: JsonObject | undefined;
    for (const key in object) {
      if (known.has(key) || object[key] === null) continue;
      const text = JSON.stringify(object[key]);
      if (this.#said.get(key) === text) continue;
      this.#said.set(key, text);
      rest ??= {};
      rest[key] = object[key];
    }
    if (rest) this.events.push(extra(ollamaFamily, JSON.stringify(rest), choiceIndex));
  }

  #readEnd(line: JsonObject): void {
    this.#doneReason = textOf(line.done_reason);
    this.#usage = readOllamaUsage(line);
    if (this.#usage) this.events.push(usageEvent(this.#usage));
  }
}

/** Arguments are an object; some servers send the text of one. */
function argumentsOf(value: unknown): string {
  if (typeof value === 'string') return value.toWellFormed() || '{}';
  return JSON.stringify(value ?? {});
}
