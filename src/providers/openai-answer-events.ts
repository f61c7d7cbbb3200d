import type { CompletionEvent, Usage } from '../../gen/llmgateway/v1/completion_pb.ts';
import { extra, finished, started, usage as usageEvent } from '../completion.ts';
import { GatewayError } from '../errors.ts';
import { isObject, type JsonObject, textOf } from './json-value.ts';
import { OpenAIChoice } from './openai-answer-choice.ts';
import { readUsage } from './openai-usage.ts';

/** What is known before the first byte of an answer. */
export interface OpenAIAnswerOptions {
  readonly provider: string;
  /** The model that was asked: the answer's own word for it counts, where it has one. */
  readonly model: string;
  readonly droppedFields: readonly string[];
  /** The media type of spoken answers. */
  readonly audioType: string;
  /** Judges an error that stands in an answer with status 200. */
  readonly refusal: (body: unknown) => GatewayError;
}

/**
 * Reads one answer of OpenAI's chat completions, whole or in chunks, into events.
 *
 * `events` is filled by the reading functions and emptied by whoever yields them. The choices are finished by `end` only, when
 * it is certain that nothing more comes: content filters and usage may follow a finish reason, and so may an error.
 */
export class OpenAIAnswer {
  readonly events: CompletionEvent[] = [];
  readonly #options: OpenAIAnswerOptions;
  readonly #choices: OpenAIChoice[] = [];
  /** What was last said under a key that has no field, to say it once. */
  readonly #said = new Map<string, string>();
  #unsaid: JsonObject | undefined;
  #started = false;
  #whole = false;
  #usage: Usage | undefined;
  #usageText = '';

  constructor(options: OpenAIAnswerOptions) {
    this.#options = options;
  }

  /** Read one chunk of a stream. */
  readChunk(chunk: unknown): void {
    if (!isObject(chunk)) throw this.unreadable('a chunk is not a JSON object');
    this.#refuseError(chunk);
    this.#readTop(chunk);
    if (!Array.isArray(chunk.choices)) return;
    for (const choice of chunk.choices) {
      if (!isObject(choice)) continue;
      const open = this.#choice(choice.index);
      if (isObject(choice.delta)) open.readMessage(choice.delta, true);
      this.#readChoice(open, choice);
    }
  }

  /** Read a whole answer. It is complete by being whole: some leave the finish reason out. */
  readWhole(body: unknown): void {
    this.#whole = true;
    const answer: unknown = Array.isArray(body) ? body[0] : body;
    if (!isObject(answer)) throw this.unreadable('the answer is not a JSON object');
    const choices = Array.isArray(answer.choices) ? answer.choices.filter(isObject) : [];
    if (!choices.some((choice) => choice.finish_reason)) this.#refuseError(answer);
    if (choices.length === 0) throw this.unreadable('the answer has no choices');
    this.#readTop(answer);
    for (const choice of choices) {
      const open = this.#choice(choice.index);
      if (isObject(choice.message)) open.readMessage(choice.message, false);
      this.#readChoice(open, choice);
      open.finishWord ??= '';
    }
  }

  /** The upstream has nothing more to say. Throws unless every choice came to its end. */
  end(): void {
    if (this.#choices.length === 0 || this.#choices.some(({ finishWord }) => finishWord === undefined)) {
      throw this.unreadable('the answer ended before it was finished');
    }
    if (this.#choices.some((choice) => choice.hasNamelessCall)) throw this.unreadable('a tool call names no tool');
    for (const choice of this.#choices) choice.finish();
    this.events.push(finished(this.#usage));
  }

  /** The failure of an answer that cannot be understood. */
  unreadable(what: string, cause?: unknown): GatewayError {
    const { provider } = this.#options;
    return new GatewayError('provider_protocol', `${provider}: ${what}`, { provider, cause });
  }

  #refuseError(body: JsonObject): void {
    const inner = isObject(body.x_groq) ? body.x_groq.error : undefined;
    if (body.error) throw this.#options.refusal(body);
    if (inner) throw this.#options.refusal({ error: inner });
    // vLLM's errors have no `error` around them.
    if (body.object === 'error') throw this.#options.refusal({ error: body });
  }

  #readTop(chunk: JsonObject): void {
    for (const key in chunk) {
      switch (key) {
        case 'id':
        case 'object':
        case 'created':
        case 'model':
        case 'choices':
        case 'usage':
        case 'error':
        case 'obfuscation':
          break;
        default:
          this.#note(key, chunk[key]);
      }
    }
    if (!this.#started) this.#start(chunk);
    const used = chunk.usage ?? (isObject(chunk.x_groq) ? chunk.x_groq.usage : undefined);
    if (used) this.#readUsage(used);
    if (this.#started && this.#unsaid) {
      this.events.push(extra('openai', JSON.stringify(this.#unsaid)));
      this.#unsaid = undefined;
    }
  }

  /** Azure's first chunk is about the prompt, and names no model yet. */
  #start(chunk: JsonObject): void {
    const model = textOf(chunk.model);
    if (model === '' && !(Array.isArray(chunk.choices) && chunk.choices.length > 0)) return;
    this.#started = true;
    this.events.push(started(model || this.#options.model, { droppedFields: [...this.#options.droppedFields] }));
  }

  /** Keep a key that has no field, unless it was said before. */
  #note(key: string, value: unknown): void {
    if (value === null || value === undefined) return;
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    if (this.#said.get(key) === text) return;
    this.#said.set(key, text);
    this.#unsaid ??= {};
    this.#unsaid[key] = value;
  }

  /** Usage is cumulative wherever it stands: the last one counts, and nothing is added up. */
  #readUsage(value: unknown): void {
    const text = JSON.stringify(value);
    if (text === this.#usageText) return;
    const read = readUsage(value);
    if (!read) return;
    this.#usageText = text;
    this.#usage = read.usage;
    // A whole answer has it in its last event, which is as near.
    if (this.#started && !this.#whole) this.events.push(usageEvent(read.usage));
    if (read.rest) this.#note('usage', read.rest);
  }

  #choice(index: unknown): OpenAIChoice {
    const number = typeof index === 'number' ? index : 0;
    if (!Number.isInteger(number) || number < 0 || number >= 2 ** 32)
      throw this.unreadable(`a choice has the index ${index}`);
    let choice = this.#choices.find((open) => open.index === number);
    if (!choice) {
      choice = new OpenAIChoice(number, this.events, this.#options.audioType);
      this.#choices.push(choice);
    }
    return choice;
  }

  #readChoice(open: OpenAIChoice, choice: JsonObject): void {
    for (const key in choice) {
      switch (key) {
        case 'index':
        case 'delta':
        case 'message':
        case 'finish_reason':
          break;
        case 'logprobs':
          if (isObject(choice.logprobs)) open.readLogprobs(choice.logprobs);
          break;
        case 'error':
          if (choice.error) throw this.#options.refusal({ error: choice.error });
          break;
        default:
          open.note(key, choice[key]);
      }
    }
    if (!choice.finish_reason) return;
    if (choice.finish_reason === 'error') throw this.#options.refusal({ error: {} });
    open.finishWord = String(choice.finish_reason);
  }
}
