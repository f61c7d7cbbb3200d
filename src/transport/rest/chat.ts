import type { Completion } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { collect, type Principal, triesIn } from '../../completion.ts';
import { GatewayError } from '../../errors.ts';
import type { RequestFacts } from '../../request-facts.ts';
import { accountHeaders } from '../account-headers.ts';
import { type DoorDependencies, openCall } from '../call.ts';
import { parseBody, readCallBytes } from './body.ts';
import { hasOptions, optionsFromHeaders } from './call-options.ts';
import { renamed } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { KnownBodies, type KnownBody, type ReadBody } from './known-bodies.ts';
import type { ChatRequest, readOpenaiRequest } from './openai-request.ts';
import { answeringHeaders, type FrameWriter, streamAnswer } from './stream-answer.ts';

/** How one of the two doors for completions words requests and answers. */
export interface ChatDoor {
  readonly name: 'openai' | 'native';
  readonly readRequest: typeof readOpenaiRequest;
  /** The whole answer as JSON text. */
  answer(completion: Completion, chat: ChatRequest, exchange: Exchange, facts: RequestFacts | undefined): string;
  frameWriter(chat: ChatRequest, exchange: Exchange): FrameWriter;
  /** Whether frames of a stream that come together may share a write. */
  readonly joinFrames: boolean;
}

/**
 * The handler of a door for completions: read, call the gateway, answer whole or as a stream.
 *
 * A body that the response cache had an answer for is likely to come again: it is known from then on.
 */
export function chatHandler(dependencies: DoorDependencies, door: ChatDoor) {
  const knownBodies = new KnownBodies();

  const read = (bytes: Buffer, exchange: Exchange): ReadBody => {
    const body = parseBody(bytes);
    exchange.adoptRequestId(body.request_id);
    return { chat: door.readRequest(body, optionsFromHeaders(exchange)), requestId: body.request_id };
  };

  return async (exchange: Exchange, principal: Principal): Promise<void> => {
    let bytes: Buffer | undefined = await readCallBytes(exchange.request, principal, dependencies);
    // What the headers ask for is part of the request, too.
    const mayBeKnown = !hasOptions(exchange);
    const known = mayBeKnown ? knownBodies.find(bytes) : undefined;
    if (known) exchange.adoptRequestId(known.requestId);
    const body = known ?? read(bytes, exchange);
    // Nothing holds a body while it is answered but what may have to be kept.
    if (known || !mayBeKnown || !knownBodies.mayKeep(bytes)) bytes = undefined;
    try {
      const answered = carryOut(dependencies, door, exchange, principal, body);
      if (answered) await answered;
    } catch (cause) {
      throw cause instanceof GatewayError ? renamed(cause, body.chat.nameOf) : cause;
    }
    if (bytes && exchange.account?.cache?.status === 'hit') knownBodies.keep(bytes, body);
  };
}

/** A promise where there is something to wait for: what the cache has, is here. */
function carryOut(
  { gateway, log, writeStallMs }: DoorDependencies,
  door: ChatDoor,
  exchange: Exchange,
  principal: Principal,
  { chat, facts }: ReadBody & Partial<KnownBody>,
): Promise<void> | void {
  const { requestId, address } = exchange;
  const notes = exchange.doorRequest?.notes;
  const about = { requestId, principal, address, door: door.name, streaming: chat.stream };
  const call = openCall({ ...about, notes, facts, log });
  exchange.called = true;
  exchange.account = call.context.account;
  const events = gateway.complete(chat.request, call.context);
  if (chat.stream) {
    const options = { joining: door.joinFrames, stallMs: writeStallMs, nameOf: chat.nameOf };
    return streamAnswer(exchange, call, events, door.frameWriter(chat, exchange), options);
  }
  exchange.whenLeft(() => call.leave());
  const answer = (completion: Completion) =>
    exchange.answer(
      200,
      door.answer(completion, chat, exchange, facts),
      answeringHeaders(completion, chat.nameOf),
      accountHeaders(call.context.account),
      { 'x-gateway-attempts': triesIn(completion.attempts) },
    );
  const collected = collect(events);
  return collected instanceof Promise ? collected.then(answer) : answer(collected);
}
