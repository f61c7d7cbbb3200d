import type { Completion } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { collect, type Principal, triesIn } from '../../completion.ts';
import { GatewayError } from '../../errors.ts';
import { accountHeaders } from '../account-headers.ts';
import { type DoorDependencies, openCall } from '../call.ts';
import { readCallBody } from './body.ts';
import { optionsFromHeaders } from './call-options.ts';
import { renamed } from './errors.ts';
import type { Exchange } from './exchange.ts';
import type { ChatRequest, readOpenaiRequest } from './openai-request.ts';
import { answeringHeaders, type FrameWriter, streamAnswer } from './stream-answer.ts';

/** How one of the two doors for completions words requests and answers. */
export interface ChatDoor {
  readonly name: 'openai' | 'native';
  readonly readRequest: typeof readOpenaiRequest;
  /** The whole answer as JSON text. */
  answer(completion: Completion, chat: ChatRequest, exchange: Exchange): string;
  frameWriter(chat: ChatRequest, exchange: Exchange): FrameWriter;
  /** Whether frames of a stream that come together may share a write. */
  readonly joinFrames: boolean;
}

/** The handler of a door for completions: read, call the gateway, answer whole or as a stream. */
export function chatHandler(dependencies: DoorDependencies, door: ChatDoor) {
  return async (exchange: Exchange, principal: Principal): Promise<void> => {
    const body = await readCallBody(exchange.request, principal, dependencies);
    exchange.adoptRequestId(body.request_id);
    const chat = door.readRequest(body, optionsFromHeaders(exchange));
    try {
      await carryOut(dependencies, door, exchange, principal, chat);
    } catch (cause) {
      throw cause instanceof GatewayError ? renamed(cause, chat.nameOf) : cause;
    }
  };
}

async function carryOut(
  { gateway, log, writeStallMs }: DoorDependencies,
  door: ChatDoor,
  exchange: Exchange,
  principal: Principal,
  chat: ChatRequest,
): Promise<void> {
  const { requestId, address } = exchange;
  const notes = exchange.doorRequest?.notes;
  const call = openCall({ requestId, principal, address, door: door.name, streaming: chat.stream, notes, log });
  exchange.called = true;
  exchange.account = call.context.account;
  const events = gateway.complete(chat.request, call.context);
  if (chat.stream) {
    const options = { joining: door.joinFrames, stallMs: writeStallMs, nameOf: chat.nameOf };
    return streamAnswer(exchange, call, events, door.frameWriter(chat, exchange), options);
  }
  exchange.whenLeft(() => call.leave());
  const collected = collect(events);
  const completion = collected instanceof Promise ? await collected : collected;
  exchange.answer(200, door.answer(completion, chat, exchange), {
    ...answeringHeaders(completion, chat.nameOf),
    ...accountHeaders(call.context.account),
    'x-gateway-attempts': triesIn(completion.attempts),
  });
}
