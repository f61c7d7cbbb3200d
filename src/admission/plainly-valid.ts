import type { CallOptions, CompletionRequest } from '../../gen/llmgateway/v1/completion_pb.ts';

const toolName = /^[A-Za-z0-9_.:-]{1,128}$/;

/**
 * Whether a request certainly keeps the rules written beside the contract's fields.
 *
 * A shortcut, not a second set of rules: `false` only means that protovalidate has to look, which takes ten times as long and
 * says what is wrong. A test holds that it never says `true` where protovalidate finds fault.
 */
export function isPlainlyValid(request: CompletionRequest): boolean {
  return (
    request.model.length <= 256 &&
    request.messages.length > 0 &&
    request.messages.every(({ role }) => role >= 1 && role <= 5) &&
    isWithin(request.temperature, 0, 2) &&
    isWithin(request.topP, 0, 1) &&
    isWithin(request.frequencyPenalty, -2, 2) &&
    isWithin(request.presencePenalty, -2, 2) &&
    isWithin(request.maxOutputTokens, 1, Number.POSITIVE_INFINITY) &&
    isWithin(request.topK, 1, Number.POSITIVE_INFINITY) &&
    isWithin(request.n, 1, 128) &&
    isWithin(request.topLogprobs, 0, 20) &&
    isWithin(request.seed, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER) &&
    isWithin(request.toolChoice?.mode, 0, 3) &&
    request.stop.length <= 16 &&
    request.stop.every((text) => text !== '') &&
    request.tools.length <= 512 &&
    request.tools.every(({ kind }) => kind.case === 'function' && toolName.test(kind.value.name)) &&
    (request.responseFormat === undefined || request.responseFormat.kind.case !== undefined) &&
    isEmpty(request.logitBias) &&
    (request.options === undefined || areOptionsPlain(request.options))
  );
}

function areOptionsPlain(options: CallOptions): boolean {
  return (
    options.timeout === undefined &&
    options.provider.length <= 128 &&
    options.idempotencyKey.length <= 255 &&
    options.userId.length <= 256 &&
    isWithin(options.routingStrategy, 0, 6) &&
    isWithin(options.cacheMode, 0, 3) &&
    (options.cacheMaxAge === undefined || (options.cacheMaxAge.seconds >= 0n && options.cacheMaxAge.nanos >= 0)) &&
    isWithin(options.guarantee, 0, 2) &&
    isEmpty(options.metadata)
  );
}

/** NaN is within nothing. */
function isWithin(value: number | undefined, least: number, most: number): boolean {
  return value === undefined || (value >= least && value <= most);
}

function isEmpty(map: object): boolean {
  for (const _ in map) return false;
  return true;
}
