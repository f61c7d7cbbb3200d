import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Completion, FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionFold } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import { AnthropicProvider } from '../../src/providers/anthropic.ts';
import { brokenLaws } from '../support/event-laws.ts';
import { callOf, eventsOf, question, replayFolder, secretKey, startReplay } from './support.ts';

/** A recorded exchange. */
interface Exchange {
  readonly id: string;
  readonly tags: readonly string[];
  readonly request: { readonly url?: string };
  readonly response: { readonly status: number; readonly body: string };
}

type Json = Record<string, unknown>;

const corpora = ['corpus-open', 'corpus-synthetic'];
if (!replayFolder)
  console.log('no recordings found (REPLAY_CORPUS): the adapter for Anthropic is not compared with them');

const exchanges: Exchange[] = (replayFolder ? corpora : []).flatMap((corpus) => {
  const folder = `${replayFolder}/${corpus}/anthropic`;
  return readdirSync(folder).map((file) => JSON.parse(readFileSync(`${folder}/${file}`, 'utf8')));
});

// A reading of the recordings of its own, which shares nothing with the adapter: the message that a stream adds up to.

function messageOf({ response }: Exchange): Json {
  if (!response.body.includes('data:')) return JSON.parse(response.body);
  let message: Json = {};
  const content: Json[] = [];
  for (const line of response.body.split(/\r?\n/)) {
    if (!line.startsWith('data:')) continue;
    const event = JSON.parse(line.slice(5));
    if (event.type === 'error') return { ...message, content, error: event.error };
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

const stops: Record<string, FinishReason> = {
  end_turn: FinishReason.STOP,
  stop_sequence: FinishReason.STOP,
  max_tokens: FinishReason.LENGTH,
  tool_use: FinishReason.TOOL_CALLS,
  refusal: FinishReason.CONTENT_FILTER,
};

function expectationOf(exchange: Exchange) {
  const message = messageOf(exchange);
  const usage = message.usage as Record<string, number | null>;
  const prompt =
    (usage.input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0) + (usage.cache_read_input_tokens ?? 0);
  return {
    model: message.model,
    blocks: (message.content as Json[]).filter(({ type, text }) => type !== 'text' || text !== ''),
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

/** A part as the block that it was, as far as it says. */
function blockOf({
  kind,
  extraJson,
  citations,
}: NonNullable<Completion['choices'][number]['message']>['parts'][number]) {
  const own = extraJson.anthropic ? JSON.parse(extraJson.anthropic) : {};
  if (kind.case === 'text') {
    const cited = citations.map(({ url, title, citedText, extraJson: extras }) => {
      const rest = JSON.parse(extras.anthropic ?? '{}');
      return { ...rest, cited_text: citedText, url, title };
    });
    return { ...own, type: 'text', text: kind.value, ...(cited.length > 0 && { citations: cited }) };
  }
  if (kind.case === 'reasoning') {
    return own.data === undefined
      ? { ...own, type: 'thinking', thinking: kind.value }
      : { ...own, type: 'redacted_thinking' };
  }
  if (kind.case === 'toolCall') {
    return {
      ...own,
      type: 'tool_use',
      id: kind.value.id,
      name: kind.value.name,
      input: JSON.parse(kind.value.arguments),
    };
  }
  return own;
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

describe.skipIf(!replayFolder)('recorded exchanges with Anthropic', () => {
  let replay: Awaited<ReturnType<typeof startReplay>>;
  beforeAll(async () => {
    replay = await startReplay(corpora);
  });
  afterAll(() => replay?.[Symbol.asyncDispose]());

  async function ask({ id, tags }: Exchange, options = '', streaming = tags.includes('stream')) {
    const provider = providerOf(id, options);
    const asked = await eventsOf(provider.complete(question(), callOf({ streaming })));
    await provider.close();
    return asked;
  }

  function providerOf(id: string, options = ''): AnthropicProvider {
    return new AnthropicProvider({
      name: 'upstream',
      kind: 'anthropic',
      baseUrl: `${replay.url}${options}/r/${id}/v1`,
      apiKeys: [secretKey],
      defaultModel: '',
      headers: {},
      dropUnsupported: 'error',
    });
  }

  /** Tells what was read, which has to be lawful. */
  async function read(exchange: Exchange, options = '', streaming?: boolean) {
    const { events, error } = await ask(exchange, options, streaming);
    if (error) throw error;
    expect(brokenLaws(events)).toEqual([]);
    const fold = new CompletionFold();
    for (const event of events) fold.add(event);
    return readingOf(fold.result());
  }

  const chats = exchanges.filter(
    ({ tags, request }) =>
      !tags.includes('ep:count-tokens') && !tags.includes('ep:models') && !/complete$/.test(request.url ?? ''),
  );
  const answers = chats.filter(({ tags, response }) => response.status === 200 && !tags.includes('error-in-200'));

  it('are all here', () => {
    expect([chats.length, answers.length]).toEqual([36, 28]);
  });

  for (const exchange of answers) {
    it(`${exchange.id} reads as it was said`, async () => {
      expect(await read(exchange)).toEqual(expectationOf(exchange));
      // Content types lie: whoever asked for a stream may get a whole answer.
      if (!exchange.tags.includes('stream')) expect(await read(exchange, '', true)).toEqual(expectationOf(exchange));
    });
  }

  const streams = answers.filter(({ tags }) => tags.includes('stream'));
  for (const exchange of streams) {
    it(`${exchange.id} reads the same cut anywhere`, async () => {
      const said = expectationOf(exchange);
      for (const options of [
        '/o/split=random',
        '/o/split=random,seed=2',
        '/o/split=byte',
        '/f/crlf',
        '/f/keepalive-comments',
        '/f/wrong-content-type',
        '/f/no-terminator',
      ]) {
        expect(await read(exchange, options), options).toEqual(said);
      }
    });

    it(`${exchange.id} is never complete when it is cut off`, async () => {
      for (const fault of [
        'reset-mid-stream',
        'truncate;after=0.3',
        'truncate-mid-event;after=0.3',
        'garbage-mid-stream',
        'error-event-mid-stream',
        'empty-body',
        'html-error',
        'reset-before-headers',
      ]) {
        const { events, error } = await ask(exchange, `/f/${fault}`);
        expect(error, fault).toBeInstanceOf(GatewayError);
        expect((error as GatewayError).reason, fault).toMatch(/^provider_(protocol|unavailable)$/);
        expect(events.filter(({ event }) => event.case === 'finished' || event.case === 'choiceFinished')).toEqual([]);
      }
    });
  }

  const reasons: Record<string, string> = {
    'anthropic-unary-err400-json-01': 'provider_rejected',
    'anthropic-unary-err404-01': 'provider_misconfigured',
    'anthropic-unary-err404-03': 'provider_misconfigured',
    'syn-anthropic-413': 'provider_rejected',
    'syn-anthropic-429': 'provider_rate_limited',
    'syn-anthropic-500': 'provider_unavailable',
    'syn-anthropic-529': 'provider_unavailable',
    'syn-anthropic-stream-overloaded': 'provider_unavailable',
  };

  it.each(chats.filter((exchange) => !answers.includes(exchange)))('$id fails as it should', async (exchange) => {
    const { events, error } = await ask(exchange);

    expect((error as GatewayError).reason).toBe(reasons[exchange.id]);
    expect(String((error as GatewayError).message)).not.toContain(secretKey);
    const text = events.map(({ event }) => (event.case === 'textDelta' ? event.value.text : '')).join('');
    expect(text).toBe(exchange.tags.includes('error-in-200') ? 'Hello' : '');
    expect((error as GatewayError).retryAfterMs).toBe(exchange.id === 'syn-anthropic-429' ? 17_000 : undefined);
  });

  it('lists the recorded models', async () => {
    const exchange = exchanges.find(({ tags }) => tags.includes('ep:models')) as Exchange;
    const listed = await providerOf(exchange.id).listModels(new AbortController().signal);

    expect(listed.map(({ id }) => id)).toEqual(JSON.parse(exchange.response.body).data.map(({ id }: Json) => id));
    expect(listed[0]).toMatchObject({ id: 'claude-opus-4-5-20251101', created: 1_763_942_400 });
  });
});
