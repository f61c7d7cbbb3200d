import {
  type Completion,
  type CompletionEvent,
  type Cost,
  FinishReason,
  type ToolCall,
  type Usage,
} from '../../../gen/llmgateway/v1/completion_pb.ts';
import type { GatewayError } from '../../errors.ts';
import type { ChatDoor } from './chat.ts';
import type { Exchange } from './exchange.ts';
import { finishReasonOf, toolCallJson } from './openai-answer.ts';
import { readNativeRequest } from './openai-request.ts';
import type { FrameWriter } from './stream-answer.ts';

/**
 * `POST /completion`: the gateway's native shape.
 *
 * Frames are not joined: callers read the stream piece by piece as it comes, and parse each piece as one event.
 */
export const nativeDoor: ChatDoor = {
  name: 'native',
  readRequest: readNativeRequest,
  joinFrames: false,
  answer: (completion, { request }, exchange) => nativeAnswer(completion, request.options.metadata, exchange),
  frameWriter: (_chat, exchange) => new NativeFrames(exchange),
};

function nativeAnswer(completion: Completion, metadata: Record<string, string>, exchange: Exchange): string {
  const [choice] = completion.choices;
  let content = '';
  let reasoning = '';
  let refusal = '';
  const calls: ToolCall[] = [];
  for (const { kind } of choice?.message?.parts ?? []) {
    if (kind.case === 'text') content += kind.value;
    else if (kind.case === 'reasoning') reasoning += kind.value;
    else if (kind.case === 'refusal') refusal += kind.value;
    else if (kind.case === 'toolCall') calls.push(kind.value);
  }
  return JSON.stringify({
    content,
    ...(reasoning !== '' && { reasoning_content: reasoning }),
    ...(refusal !== '' && { refusal }),
    ...(calls.length > 0 && { tool_calls: calls.map(toolCallJson) }),
    provider_name: completion.provider,
    model: completion.model,
    usage: nativeUsage(completion.usage, completion.cost),
    response_time: rounded(exchange.elapsedSeconds()),
    request_id: exchange.requestId,
    timestamp: new Date().toISOString(),
    finish_reason: finishReasonOf(choice?.finishReason ?? FinishReason.STOP),
    metadata,
  });
}

/** Tokens and US dollars; null where unknown. */
function nativeUsage(usage: Usage | undefined, cost: Cost | undefined): object {
  return {
    prompt_tokens: usage?.promptTokens ?? null,
    completion_tokens: usage?.completionTokens ?? null,
    total_tokens: usage?.totalTokens ?? null,
    prompt_cost: cost?.promptUsd ?? null,
    completion_cost: cost?.completionUsd ?? null,
    total_cost: cost?.totalUsd ?? null,
  };
}

/** Writes the events of one completion as frames of the native shape: one for each delta, and one at the end. */
class NativeFrames implements FrameWriter {
  readonly #exchange: Exchange;
  readonly #toolCalls = new Map<number, number>();
  #count = 0;
  #provider: string | null = null;
  /** What follows the content on each frame. */
  #tail = '';
  #finishReason = 'stop';
  #last: object = {};

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  frames({ event }: CompletionEvent): string {
    switch (event.case) {
      case 'textDelta':
        return this.#delta(event.value.text);
      case 'reasoningDelta':
        return this.#delta('', { reasoning_content: event.value.text });
      case 'refusalDelta':
        return this.#delta('', { refusal: event.value.text });
      case 'toolCallDelta': {
        const { partIndex, arguments: args, custom } = event.value;
        const known = this.#toolCalls.get(partIndex);
        const index = known ?? this.#toolCalls.size;
        this.#toolCalls.set(partIndex, index);
        const more = custom ? { custom: { input: args } } : { function: { arguments: args } };
        return this.#delta('', {
          tool_calls: [{ index, ...(known === undefined ? toolCallJson(event.value) : more) }],
        });
      }
      case 'started': {
        const { provider, model } = event.value;
        this.#provider = provider;
        this.#tail = `,"provider":${JSON.stringify(provider)},"model":${JSON.stringify(model)}`;
        return '';
      }
      case 'choiceFinished':
        this.#finishReason = finishReasonOf(event.value.reason);
        return '';
      case 'finished':
        this.#last = nativeUsage(event.value.usage, event.value.cost);
        return '';
      default:
        return '';
    }
  }

  done(): string {
    const { requestId } = this.#exchange;
    const response_time = rounded(this.#exchange.elapsedSeconds());
    const end = {
      done: true,
      finish_reason: this.#finishReason,
      usage: this.#last,
      request_id: requestId,
      response_time,
    };
    return `data: ${JSON.stringify(end)}\n\n`;
  }

  failed({ reason, message, provider }: GatewayError): string {
    const end = {
      error: reason,
      message,
      provider: provider ?? this.#provider,
      done: true,
      request_id: this.#exchange.requestId,
    };
    return `data: ${JSON.stringify(end)}\n\n`;
  }

  #delta(content: string, more?: object): string {
    const id = `chunk_${++this.#count}`;
    const extras = more ? `,${JSON.stringify(more).slice(1, -1)}` : '';
    const text = JSON.stringify(content);
    return `data: {"id":"${id}","object":"chat.completion.chunk","content":${text}${extras}${this.#tail}}\n\n`;
  }
}

/** Seconds to the microsecond, as far as they can be told. */
function rounded(seconds: number): number {
  return Math.round(seconds * 1e6) / 1e6;
}
