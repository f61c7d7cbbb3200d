import { isDeepStrictEqual } from 'node:util';
import { type Completion, FinishReason, type Part } from '../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError } from '../../src/errors.ts';
import { corpora, loadOracle, type Recording, recordings } from '../support/replay.ts';
import type { Fixture, Told } from './provider-suite.ts';

type Json = Record<string, unknown>;

/**
 * Every recorded answer of the Messages API, and of its list of models; none where there are no recordings.
 *
 * The oracle does not read this dialect. What an answer must come to is read here by folding its blocks, which shares nothing
 * with the adapter.
 */
export async function anthropicFixtures(): Promise<Fixture[]> {
  if (recordings.missing) return [];
  const oracle = await loadOracle();
  return oracle
    .loadCorpus(corpora)
    .filter(({ provider, request }) => provider === 'anthropic' && /\/(messages|models)$/.test(pathOf(request.url)))
    .map((recording) => ({
      name: recording.id,
      asks: recording.tags.includes('ep:models') ? 'models' : 'completion',
      streaming: recording.tags.includes('stream'),
      status: recording.response.status,
      body: recording.response.body,
      contentType: recording.response.headers?.['content-type'],
      difference: (told) => differenceOf(told, recording),
    }));
}

/** Some are known by their answer only. */
function pathOf(url: string | undefined): string {
  return url ? new URL(url).pathname : '/messages';
}

const reasons: Readonly<Record<string, string>> = {
  'anthropic-unary-err400-json-01': 'provider_rejected',
  'anthropic-unary-err404-01': 'provider_misconfigured',
  'anthropic-unary-err404-03': 'provider_misconfigured',
  'syn-anthropic-413': 'provider_rejected',
  'syn-anthropic-429': 'provider_rate_limited',
  'syn-anthropic-500': 'provider_unavailable',
  'syn-anthropic-529': 'provider_unavailable',
  'syn-anthropic-stream-overloaded': 'provider_unavailable',
};

function differenceOf(told: Told, recording: Recording): string | null {
  const { id, tags, response } = recording;
  const want = tags.includes('ep:models')
    ? JSON.parse(response.body).data.map(({ id }: Json) => id)
    : reasons[id]
      ? { reason: reasons[id], text: tags.includes('error-in-200') ? 'Hello' : '' }
      : expectationOf(response.body);
  const got = told.models
    ? told.models.map(({ id }) => id)
    : told.completion
      ? readingOf(told.completion)
      : failureOf(told);
  return isDeepStrictEqual(got, want) ? null : `want ${JSON.stringify(want)}, got ${JSON.stringify(got)}`;
}

function failureOf({ events, error }: Told) {
  const text = events.map(({ event }) => (event.case === 'textDelta' ? event.value.text : '')).join('');
  return { reason: error instanceof GatewayError ? error.reason : String(error), text };
}

/** The message that a body is, or that its events add up to. */
function messageOf(body: string): Json {
  if (!body.includes('data:')) return JSON.parse(body);
  let message: Json = {};
  const content: Json[] = [];
  for (const line of body.split(/\r?\n/)) {
    if (!line.startsWith('data:')) continue;
    const event = JSON.parse(line.slice(5));
    if (event.type === 'message_start') message = { ...event.message };
    if (event.type === 'content_block_start') content[event.index] = { ...event.content_block, json: '' };
    if (event.type === 'message_delta') {
      Object.assign(message, event.delta, { usage: { ...(message.usage as Json), ...event.usage } });
    }
    if (event.type !== 'content_block_delta') continue;
    const block = content[event.index] as Json;
    const { type, text, thinking, signature, partial_json, citation } = event.delta;
    if (type === 'text_delta') block.text += text;
    if (type === 'thinking_delta') block.thinking += thinking;
    if (type === 'signature_delta') block.signature = signature;
    if (type === 'input_json_delta') block.json += partial_json;
    if (type === 'citations_delta') block.citations = [...((block.citations as Json[]) ?? []), citation];
  }
  for (const block of content) {
    if (block.json) block.input = JSON.parse(block.json as string);
    delete block.json;
  }
  return { ...message, content };
}

const stops: Readonly<Record<string, FinishReason>> = {
  end_turn: FinishReason.STOP,
  stop_sequence: FinishReason.STOP,
  max_tokens: FinishReason.LENGTH,
  tool_use: FinishReason.TOOL_CALLS,
  refusal: FinishReason.CONTENT_FILTER,
};

function expectationOf(body: string) {
  const message = messageOf(body);
  const usage = message.usage as Record<string, number | null>;
  const prompt =
    (usage.input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0) + (usage.cache_read_input_tokens ?? 0);
  return {
    model: message.model,
    blocks: (message.content as Json[])
      .filter(({ type, text }) => type !== 'text' || text !== '')
      .map(({ citations, ...block }) => (citations ? { ...block, citations } : block)),
    stop: stops[message.stop_reason as string],
    word: message.stop_reason,
    stopSequence: message.stop_sequence ?? '',
    stopDetails: message.stop_details ?? undefined,
    prompt,
    completion: usage.output_tokens ?? 0,
    total: prompt + (usage.output_tokens ?? 0),
    cached: usage.cache_read_input_tokens ?? undefined,
    written: usage.cache_creation_input_tokens ?? undefined,
    thought: (message.usage as { output_tokens_details?: { thinking_tokens: number } }).output_tokens_details
      ?.thinking_tokens,
  };
}

function readingOf({ model, choices, usage }: Completion) {
  const choice = choices[0];
  const details = choice?.extraJson.anthropic;
  return {
    model,
    blocks: (choice?.message?.parts ?? []).map(blockOf),
    stop: choice?.finishReason,
    word: choice?.providerReason,
    stopSequence: choice?.stopSequence,
    stopDetails: details && JSON.parse(details).stop_details,
    prompt: usage?.promptTokens,
    completion: usage?.completionTokens,
    total: usage?.totalTokens,
    cached: usage?.cachedPromptTokens,
    written: usage?.cacheWritePromptTokens,
    thought: usage?.reasoningTokens,
  };
}

/** A part as the block that it was. */
function blockOf({ kind, extraJson, citations }: Part): Json {
  const own = extraJson.anthropic ? JSON.parse(extraJson.anthropic) : {};
  switch (kind.case) {
    case 'text': {
      const cited = citations.map(({ url, title, citedText, extraJson: extras }) => {
        const rest = JSON.parse(extras.anthropic ?? '{}');
        return { ...rest, cited_text: citedText, url, title };
      });
      return { ...own, type: 'text', text: kind.value, ...(cited.length > 0 && { citations: cited }) };
    }
    case 'reasoning':
      return own.data ? { ...own, type: 'redacted_thinking' } : { ...own, type: 'thinking', thinking: kind.value };
    case 'toolCall': {
      const { id, name, arguments: args } = kind.value;
      return { ...own, type: 'tool_use', id, name, input: JSON.parse(args) };
    }
    default:
      return own;
  }
}
