import type {
  ChoiceFinished,
  CitationAdded,
  CompletionEvent,
  Extra,
  LogprobsDelta,
  Media,
  MediaDelta,
  ReasoningDelta,
  Started,
  TextDelta,
  ToolCallDelta,
  Usage,
} from '../../../gen/llmgateway/v1/completion_pb.ts';
import type { GatewayError } from '../../errors.ts';
import { errorBody } from './errors.ts';
import type { JsonObject } from './fields.ts';
import {
  annotationJson,
  audioJson,
  codePoints,
  finishReasonOf,
  imageJson,
  logprobsJson,
  toolCallJson,
  usageJson,
} from './openai-answer.ts';
import { reasoningDetail } from './reasoning-details.ts';
import type { FrameWriter } from './stream-answer.ts';
import { signatureBeside, signatureDetail, thoughtSignatureIn } from './thought-signatures.ts';
import { secondsOf } from './times.ts';

/** How a caller wants its chunks. */
export interface ChunkOptions {
  readonly requestId: string;
  readonly includeUsage: boolean;
  readonly legacyFunctions: boolean;
}

/** What is known of one choice while it is streamed. */
interface OpenChoice {
  readonly index: number;
  /** The text before and after a delta's own keys. */
  head: string;
  tail: string;
  /** Whether its first delta, which names the role, has been written. */
  opened: boolean;
  /** The parts that have a kind; extras of any other are an opaque block. */
  readonly parts: Set<number>;
  /** Ordinal among the tool calls, by part. */
  readonly toolCalls: Map<number, { ordinal: number; id: string; custom: boolean }>;
  /** Where in the content each part of text begins, and how long the content is so far, in code points. */
  readonly textStarts: Map<number, number>;
  textLength: number;
  /** What was thought so far, by part, and what of it was signed. */
  readonly thoughts: Map<number, string>;
  readonly signed: object[];
  /** Images that are still coming, by part. */
  readonly images: Map<number, Media[]>;
}

/** Extras that OpenAI repeats on every chunk; others are told once. */
const repeated: ReadonlySet<string> = new Set(['system_fingerprint', 'service_tier']);

/**
 * Writes the events of one completion as OpenAI's `chat.completion.chunk` frames.
 *
 * The end of a choice is held back until the next event, so that extras of the whole answer which come with it can stand on the
 * same chunk, and so that a failure right after it leaves no `finish_reason` behind.
 */
export class OpenaiChunks implements FrameWriter {
  readonly #options: ChunkOptions;
  readonly #choices: OpenChoice[] = [];
  readonly #nullUsage: string;
  #start = '';
  /** Extras of the answer: on every chunk, on the next one, and within usage. */
  #common: JsonObject = {};
  #once: JsonObject = {};
  #usageExtras: JsonObject | undefined;
  #ending: ChoiceFinished | undefined;

  constructor(options: ChunkOptions) {
    this.#options = options;
    this.#nullUsage = options.includeUsage ? ',"usage":null' : '';
  }

  frames({ event }: CompletionEvent): string {
    switch (event.case) {
      case 'textDelta':
        return this.#text(event.value);
      case 'reasoningDelta':
        return this.#reasoning(event.value);
      case 'refusalDelta':
        return this.#delta(this.#part(event.value), `"refusal":${JSON.stringify(event.value.text)}`);
      case 'toolCallDelta':
        return this.#toolCall(event.value);
      case 'mediaDelta':
        return this.#media(event.value);
      case 'citation':
        return this.#citation(event.value);
      case 'logprobs':
        return this.#logprobs(event.value);
      case 'extra':
        return this.#extra(event.value);
      case 'started':
        this.#begin(event.value);
        return '';
      case 'choiceFinished': {
        const frame = this.#end();
        this.#ending = event.value;
        return frame;
      }
      case 'finished':
        return this.#end() + this.#usage(event.value.usage);
      default:
        return '';
    }
  }

  done(): string {
    return 'data: [DONE]\n\n';
  }

  failed(error: GatewayError): string {
    return `data: ${errorBody(error, 'openai', this.#options.requestId)}\n\n`;
  }

  #begin({ id, createdAt, model }: Started): void {
    const created = createdAt ? Math.floor(secondsOf(createdAt)) : 0;
    const fields = { id, object: 'chat.completion.chunk', created, model };
    this.#start = JSON.stringify(fields).slice(0, -1);
  }

  #choice(index: number): OpenChoice {
    const known = this.#choices[index] ?? this.#choices.find((choice) => choice?.index === index);
    if (known?.index === index) return known;
    const choice: OpenChoice = {
      index,
      head: '',
      tail: '',
      opened: false,
      parts: new Set(),
      toolCalls: new Map(),
      textStarts: new Map(),
      textLength: 0,
      thoughts: new Map(),
      signed: [],
      images: new Map(),
    };
    this.#choices.push(choice);
    return choice;
  }

  /** The choice of a delta, which opens its part if nothing did before. */
  #part({ choiceIndex, partIndex }: { readonly choiceIndex: number; readonly partIndex: number }): OpenChoice {
    const choice = this.#choice(choiceIndex);
    choice.parts.add(partIndex);
    return choice;
  }

  #text(delta: TextDelta): string {
    const choice = this.#part(delta);
    if (!choice.textStarts.has(delta.partIndex)) choice.textStarts.set(delta.partIndex, choice.textLength);
    choice.textLength += codePoints(delta.text);
    return this.#delta(choice, `"content":${JSON.stringify(delta.text)}`);
  }

  #reasoning(delta: ReasoningDelta): string {
    const choice = this.#part(delta);
    choice.thoughts.set(delta.partIndex, (choice.thoughts.get(delta.partIndex) ?? '') + delta.text);
    return this.#delta(choice, `"reasoning_content":${JSON.stringify(delta.text)}`);
  }

  /** The signature of a thought comes with all of it, to be sent back as it is, in the last delta of its choice. */
  #signature(choiceIndex: number, partIndex: number, json: string): string {
    const choice = this.#choice(choiceIndex);
    const thought = choice.thoughts.get(partIndex);
    const detail = thought === undefined ? undefined : reasoningDetail(thought, json, choice.signed.length);
    if (detail) choice.signed.push(detail);
    return '';
  }

  /** Gemini signs parts of any kind: what it is decides in which forms its signature goes out. */
  #thoughtSignature(choiceIndex: number, partIndex: number, json: string): string {
    const signature = thoughtSignatureIn(json);
    if (signature === undefined) return '';
    const choice = this.#choice(choiceIndex);
    const call = choice.toolCalls.get(partIndex);
    const kind = choice.textStarts.has(partIndex) ? 'text' : choice.thoughts.has(partIndex) ? 'thought' : undefined;
    const of = call ?? kind;
    if (!of) return '';
    choice.signed.push(signatureDetail(of, signature, choice.signed.length));
    if (!call || this.#options.legacyFunctions) return '';
    return this.#toolCallJson(choice, { ...signatureBeside(signature), index: call.ordinal, ...nothingMore(call) });
  }

  /** A chunk with one delta, its keys given as JSON text: the hot path, put together by hand. */
  #delta(choice: OpenChoice, keys: string): string {
    if (choice.opened) return this.#pending() + choice.head + keys + choice.tail;
    choice.opened = true;
    this.#shape(choice);
    return `${this.#pending()}${choice.head}"role":"assistant",${keys}${choice.tail}`;
  }

  /** Fix what stands around each delta of a choice. */
  #shape(choice: OpenChoice): void {
    const common = JSON.stringify(this.#common).slice(1, -1);
    choice.head = `data: ${this.#start}${common && `,${common}`},"choices":[{"index":${choice.index},"delta":{`;
    choice.tail = `},"finish_reason":null}]${this.#nullUsage}}\n\n`;
  }

  /** What was held back and goes before the next chunk. */
  #pending(): string {
    return this.#ending ? this.#end() : '';
  }

  /** A chunk that is not on the hot path, with the extras that wait for one. */
  #chunk(choices: readonly object[], usage?: object): string {
    const more = {
      ...this.#common,
      ...this.#once,
      choices,
      ...(this.#options.includeUsage && { usage: usage ?? null }),
    };
    this.#once = {};
    return `data: ${this.#start},${JSON.stringify(more).slice(1)}\n\n`;
  }

  #toolCall(delta: ToolCallDelta): string {
    const choice = this.#part(delta);
    const known = choice.toolCalls.get(delta.partIndex);
    const ordinal = known?.ordinal ?? choice.toolCalls.size;
    const custom = known?.custom ?? delta.custom;
    if (!known) choice.toolCalls.set(delta.partIndex, { ordinal, id: delta.id, custom });
    if (this.#options.legacyFunctions) {
      if (ordinal > 0) return '';
      const { name, arguments: args } = delta;
      return this.#delta(
        choice,
        `"function_call":${JSON.stringify(known ? { arguments: args } : { name, arguments: args })}`,
      );
    }
    if (!known) return this.#toolCallJson(choice, { index: ordinal, ...toolCallJson(delta) });
    return this.#toolCallJson(
      choice,
      custom
        ? { index: ordinal, custom: { input: delta.arguments } }
        : { index: ordinal, function: { arguments: delta.arguments } },
    );
  }

  #toolCallJson(choice: OpenChoice, call: object): string {
    return this.#delta(choice, `"tool_calls":[${JSON.stringify(call)}]`);
  }

  #media(delta: MediaDelta): string {
    const { partIndex, media } = delta;
    const choice = this.#part(delta);
    if (media.case === 'audio') return this.#delta(choice, `"audio":${JSON.stringify(audioJson(media.value))}`);
    if (media.case !== 'image') return '';
    // The URL of an image cannot be cut into deltas: it waits until it is whole.
    const pieces = choice.images.get(partIndex);
    if (pieces) pieces.push(media.value);
    else choice.images.set(partIndex, [media.value]);
    return '';
  }

  #citation({ choiceIndex, partIndex, citation }: CitationAdded): string {
    if (!citation) return '';
    const choice = this.#choice(choiceIndex);
    const start = choice.textStarts.get(partIndex) ?? choice.textLength;
    const annotation = annotationJson(citation, start, choice.textLength - start);
    return this.#delta(choice, `"annotations":[${JSON.stringify(annotation)}]`);
  }

  #logprobs(delta: LogprobsDelta): string {
    const choice = this.#choice(delta.choiceIndex);
    const opening = choice.opened ? {} : { role: 'assistant' };
    choice.opened = true;
    this.#shape(choice);
    const logprobs = logprobsJson(delta);
    return this.#pending() + this.#chunk([{ index: choice.index, delta: opening, logprobs, finish_reason: null }]);
  }

  #extra({ choiceIndex, partIndex, family, json }: Extra): string {
    if (choiceIndex !== undefined && partIndex !== undefined) {
      if (family === 'anthropic') return this.#signature(choiceIndex, partIndex, json);
      if (family === 'gemini') return this.#thoughtSignature(choiceIndex, partIndex, json);
    }
    if (family !== 'openai') return '';
    const extras: JsonObject = JSON.parse(json);
    if (choiceIndex === undefined) {
      this.#answerExtras(extras);
      return '';
    }
    const choice = this.#choice(choiceIndex);
    if (partIndex !== undefined && !choice.parts.has(partIndex)) {
      return this.#delta(choice, `"content_blocks":[${JSON.stringify(extras)}]`);
    }
    const call = partIndex === undefined ? undefined : choice.toolCalls.get(partIndex);
    const keys = JSON.stringify(extras).slice(1, -1);
    if (!call) return keys && this.#delta(choice, keys);
    if (this.#options.legacyFunctions) return '';
    return this.#toolCallJson(choice, { ...extras, index: call.ordinal, ...nothingMore(call) });
  }

  #answerExtras({ usage, ...extras }: JsonObject): void {
    if (usage) this.#usageExtras = { ...this.#usageExtras, ...(usage as JsonObject) };
    for (const key in extras) {
      if (key === 'id' || key === 'object' || key === 'created' || key === 'model' || key === 'choices') continue;
      if (repeated.has(key)) this.#common[key] = extras[key];
      else this.#once[key] = extras[key];
    }
    for (const choice of this.#choices) if (choice.opened) this.#shape(choice);
  }

  /** The chunk that ends a choice, if one was held back; images and signatures, whole by now, go before it. */
  #end(): string {
    const ending = this.#ending;
    if (!ending) return '';
    this.#ending = undefined;
    const choice = this.#choice(ending.choiceIndex);
    let frames = '';
    for (const pieces of choice.images.values()) {
      frames += this.#delta(choice, `"images":[${JSON.stringify(imageJson(wholeImage(pieces)))}]`);
    }
    // All at once: of a list that comes in pieces, OpenAI's own SDK keeps the last piece.
    if (choice.signed.length > 0) frames += this.#delta(choice, `"reasoning_details":${JSON.stringify(choice.signed)}`);
    const delta = choice.opened ? {} : { role: 'assistant', content: '' };
    choice.opened = true;
    const reason = finishReasonOf(ending.reason, this.#options.legacyFunctions);
    const extras: JsonObject = ending.extraJson.openai ? JSON.parse(ending.extraJson.openai) : {};
    return frames + this.#chunk([{ ...extras, index: choice.index, delta, finish_reason: reason }]);
  }

  #usage(usage: Usage | undefined): string {
    if (!this.#options.includeUsage || !usage) return '';
    return this.#chunk([], usageJson(usage, this.#usageExtras));
  }
}

/** A tool call delta that brings no arguments: some SDKs refuse one without `function`. */
function nothingMore({ custom }: { custom: boolean }): object {
  return custom ? { custom: { input: '' } } : { function: { arguments: '' } };
}

/** The image that comes in pieces, of which the first has all but the later bytes. */
function wholeImage(pieces: readonly Media[]): Media {
  const [first, ...more] = pieces as [Media, ...Media[]];
  if (more.length === 0) return first;
  const bytes = pieces.map(({ source }) => (source.case === 'data' ? source.value : new Uint8Array()));
  return { ...first, source: { case: 'data', value: Buffer.concat(bytes) } };
}
