import { type CompletionEvent, FinishReason, type Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { choiceFinished, extra, finished, started, usage as usageEvent } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import type { AnswerReader } from './answer-loop.ts';
import { GeminiCandidate } from './gemini-answer-candidate.ts';
import { faultOf } from './gemini-finish-reason.ts';
import { geminiFamily } from './gemini-generations.ts';
import { readUsage, restOfUsage } from './gemini-usage.ts';
import { isObject, type JsonObject, textOf } from './json-value.ts';

/** What is known before the first byte of an answer. */
export interface GeminiAnswerOptions {
  readonly provider: string;
  /** The model that was asked: the answer's own word for it counts, where it has one. */
  readonly model: string;
  readonly droppedFields: readonly string[];
  /** Judges an error that stands in an answer with status 200. */
  readonly refusal: (body: unknown) => GatewayError;
}

/**
 * Reads one answer of `generateContent`, whole or in chunks, into events. Both have the same shape.
 *
 * Nothing but the connection's end tells that nothing more comes; a finish reason is the proof that nothing is missing.
 */
export class GeminiAnswer implements AnswerReader {
  readonly events: CompletionEvent[] = [];
  readonly #options: GeminiAnswerOptions;
  readonly #candidates: GeminiCandidate[] = [];
  /** What was last said under a key that has no field, to say it once. */
  readonly #said = new Map<string, string>();
  #started = false;
  #blockReason = '';
  #usage: Usage | undefined;
  #restOfUsage: JsonObject | undefined;

  constructor(options: GeminiAnswerOptions) {
    this.#options = options;
  }

  readChunk(chunk: unknown): void {
    if (!isObject(chunk)) throw this.unreadable('a chunk is not a JSON object');
    if (chunk.error) throw this.#options.refusal(chunk);
    if (!this.#started) this.#start(chunk);
    this.#readTop(chunk);
    if (Array.isArray(chunk.candidates)) {
      for (const candidate of chunk.candidates) if (isObject(candidate)) this.#readCandidate(candidate);
    }
    if (isObject(chunk.usageMetadata)) this.#readUsage(chunk.usageMetadata);
  }

  /** A list is a stream that was asked for without `alt=sse`. */
  readWhole(body: unknown): void {
    for (const chunk of Array.isArray(body) ? body : [body]) this.readChunk(chunk);
  }

  end(): void {
    if (this.#candidates.length === 0 && this.#blockReason === '')
      throw this.unreadable('the answer has no candidates');
    if (this.#candidates.some(({ finishWord }) => finishWord === '')) {
      throw this.unreadable('the answer ended before it was finished');
    }
    for (const { finishWord, finishMessage } of this.#candidates) {
      const fault = faultOf(finishWord, finishMessage);
      if (fault) throw this.#options.refusal(fault);
    }
    const rest = this.#restOfUsage && restOfUsage(this.#restOfUsage);
    if (rest) this.events.push(extra(geminiFamily, JSON.stringify({ usageMetadata: rest })));
    for (const candidate of this.#candidates) candidate.finish();
    if (this.#candidates.length === 0) {
      this.events.push(choiceFinished(0, FinishReason.CONTENT_FILTER, this.#blockReason));
    }
    this.events.push(finished(this.#usage));
  }

  unreadable(what: string, cause?: unknown): GatewayError {
    const { provider } = this.#options;
    return new GatewayError('provider_protocol', `${provider}: ${what}`, { provider, cause });
  }

  #start({ modelVersion }: JsonObject): void {
    const { model, droppedFields } = this.#options;
    this.#started = true;
    this.events.push(started(textOf(modelVersion) || model, { droppedFields: [...droppedFields] }));
  }

  /** Keys without a field are told once, and again when they change. */
  #readTop(chunk: JsonObject): void {
    let news: JsonObject | undefined;
    for (const key in chunk) {
      if (key === 'candidates' || key === 'usageMetadata' || key === 'modelVersion') continue;
      const value = chunk[key];
      if (value === null) continue;
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      if (this.#said.get(key) === text) continue;
      this.#said.set(key, text);
      news ??= {};
      news[key] = value;
    }
    if (!news) return;
    this.events.push(extra(geminiFamily, JSON.stringify(news)));
    if (isObject(news.promptFeedback)) this.#blockReason = textOf(news.promptFeedback.blockReason);
  }

  #readCandidate(candidate: JsonObject): void {
    const index = candidate.index ?? 0;
    if (!isIndex(index)) throw this.unreadable('a candidate has no valid index');
    let open = this.#candidates.find((known) => known.index === index);
    if (!open) {
      open = new GeminiCandidate(index, this.events);
      this.#candidates.push(open);
    }
    const complaint = open.read(candidate);
    if (complaint) throw this.unreadable(complaint);
  }

  /** Each chunk has the whole account so far: it is told when it has changed. */
  #readUsage(metadata: JsonObject): void {
    this.#restOfUsage = metadata;
    const usage = readUsage(metadata);
    if (!usage || isSame(usage, this.#usage)) return;
    this.#usage = usage;
    this.events.push(usageEvent(usage));
  }
}

function isIndex(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0x7fffffff;
}

function isSame(usage: Usage, before: Usage | undefined): boolean {
  return (
    before !== undefined &&
    usage.promptTokens === before.promptTokens &&
    usage.completionTokens === before.completionTokens &&
    usage.cachedPromptTokens === before.cachedPromptTokens &&
    usage.reasoningTokens === before.reasoningTokens
  );
}
