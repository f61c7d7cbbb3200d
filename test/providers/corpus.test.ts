import { pathToFileURL } from 'node:url';
import { create } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Completion, FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';
import { EmbeddingRequestSchema, type EmbeddingResult } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { CompletionFold } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import type { ProviderKindName } from '../../src/providers/registry.ts';
import { brokenLaws } from '../support/event-laws.ts';
import { callOf, eventsOf, providerAt, question, replayFolder, startReplay } from './support.ts';

/** A recorded exchange, and the parts of the oracle that read it on their own. */
interface Exchange {
  readonly id: string;
  readonly provider: string;
  readonly tags: readonly string[];
  readonly request: { readonly url?: string; readonly body?: { readonly input?: unknown } };
  readonly response: { readonly status: number; readonly body: string };
}
interface Expected {
  readonly kind: string;
  readonly gateway_kind: ProviderKindName;
  readonly stream: boolean;
  readonly error_class: unknown;
  readonly error_at: string | null;
  readonly embeddings?: ({ any: true } | number[])[];
  readonly usage?: { prompt: unknown };
}
interface Oracle {
  loadCorpus(folders: string[]): Exchange[];
  expected(exchange: Exchange): Expected;
  firstDiff(expected: Expected, got: object, fields?: string[]): string | null;
  errorAllows(expected: Expected, reason: string): boolean;
  mayFail(expected: Expected): boolean;
  mustFail(expected: Expected): boolean;
  same(want: unknown, got: unknown): boolean;
}

const corpora = ['corpus-open', 'corpus-synthetic'];
const kinds = ['gemini', 'groq', 'openai', 'openai-compat', 'github'];
const oracle: Oracle | undefined =
  replayFolder && (await import(pathToFileURL(`${replayFolder}/check/replay/oracle.mjs`).href));
if (!oracle) console.log('no recordings found (REPLAY_CORPUS): the adapters are not compared with them');

const exchanges = (oracle?.loadCorpus(corpora.map((corpus) => `${replayFolder}/${corpus}`)) ?? [])
  .filter(({ provider }) => kinds.includes(provider))
  .map((exchange) => ({ exchange, expected: (oracle as Oracle).expected(exchange) }));

const words: Partial<Record<FinishReason, string>> = {
  [FinishReason.STOP]: 'stop',
  [FinishReason.OTHER]: 'stop',
  [FinishReason.LENGTH]: 'length',
  [FinishReason.TOOL_CALLS]: 'tool_calls',
  [FinishReason.CONTENT_FILTER]: 'content_filter',
};

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return json;
  }
}

/** An answer in the words of the oracle. */
function inOracleWords({ choices, usage }: Pick<Completion, 'choices' | 'usage'>) {
  const choice = choices.find(({ index }) => index === 0);
  const parts = choice?.message?.parts ?? [];
  const text = (kind: string) => parts.map((part) => (part.kind.case === kind ? part.kind.value : '')).join('');
  return {
    text: text('text'),
    reasoning: text('reasoning'),
    tool_calls: parts.flatMap(({ kind }) =>
      kind.case === 'toolCall' ? [{ name: kind.value.name, arguments: parsed(kind.value.arguments) }] : [],
    ),
    finish_reason: choice && words[choice.finishReason],
    usage: usage && {
      prompt: usage.promptTokens,
      completion: usage.completionTokens,
      total: usage.totalTokens,
      cached: usage.cachedPromptTokens,
      reasoning: usage.reasoningTokens,
    },
  };
}

function baseUrlOf(replay: string, { id, request }: Exchange, kind: string, options = ''): string {
  const path = request.url ? new URL(request.url).pathname : '';
  const fallback = { gemini: '/v1beta', groq: '/openai/v1', github_models: '/inference' }[kind] ?? '/v1';
  const below = kind === 'gemini' ? /^(.*)\/models(?:\/|$)/ : /^(.*)\/(?:chat\/completions|embeddings|models)$/;
  return `${replay}${options}/r/${id}${below.exec(path)?.[1] ?? fallback}`;
}

describe.skipIf(!oracle)('recorded exchanges', () => {
  const { firstDiff, errorAllows, mayFail, mustFail, same } = oracle as Oracle;
  let replay: Awaited<ReturnType<typeof startReplay>>;
  beforeAll(async () => {
    replay = await startReplay(corpora);
  });
  afterAll(() => replay?.[Symbol.asyncDispose]());

  /** What an exchange looks like through its adapter; undefined: as the oracle says. */
  async function difference({ exchange, expected }: (typeof exchanges)[number], options = ''): Promise<string | null> {
    const kind = expected.gateway_kind;
    const provider = providerAt(baseUrlOf(replay.url, exchange, kind, options), { kind });
    const { events, error } = await eventsOf(provider.complete(question(), callOf({ streaming: expected.stream })));
    await provider.close();
    const fold = new CompletionFold();
    for (const event of events) fold.add(event);
    if (error) {
      if (!(error instanceof GatewayError)) throw error;
      if (!mayFail(expected)) return `failed with ${error.reason}: ${error.message}`;
      if (!errorAllows(expected, error.reason)) return `${error.reason}, want ${JSON.stringify(expected.error_class)}`;
      // What had come before the failure must have been told.
      const told = events.filter(({ event }) => event.case === 'textDelta');
      const text = told.map(({ event }) => (event.case === 'textDelta' ? event.value.text : '')).join('');
      return expected.error_at === 'midstream' ? firstDiff(expected, { text }, ['text']) : null;
    }
    const broken = brokenLaws(events);
    if (broken.length > 0) return broken.join('; ');
    if (mustFail(expected)) return `succeeded, want ${JSON.stringify(expected.error_class)}`;
    return firstDiff(expected, inOracleWords(fold.result()));
  }

  const chats = exchanges.filter(({ expected }) => expected.kind === 'chat');
  for (const item of chats) {
    it(`${item.exchange.id} reads as the oracle reads it`, async () => {
      expect(await difference(item)).toBeNull();
    });
  }

  const streams = chats.filter(({ exchange, expected }) => expected.stream && exchange.response.status === 200);
  for (const item of streams) {
    it(`${item.exchange.id} reads the same cut at random and at every byte`, async () => {
      expect(await difference(item, '/o/split=random')).toBeNull();
      const short = item.exchange.response.body.length < 60_000;
      expect(await difference(item, short ? '/o/split=byte' : '/o/split=random,seed=2')).toBeNull();
      expect(await difference(item, '/f/crlf')).toBeNull();
      expect(await difference(item, '/f/keepalive-comments')).toBeNull();
      expect(await difference(item, '/f/wrong-content-type')).toBeNull();
    });
  }

  const whole = streams.filter(({ expected }) => !mayFail(expected));
  for (const item of whole) {
    it(`${item.exchange.id} is complete without its [DONE], and never when it is cut off`, async () => {
      expect(await difference(item, '/f/no-terminator')).toBeNull();
      const { exchange, expected } = item;
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
        // biome-ignore format: a list
        const kind = expected.gateway_kind;
        const provider = providerAt(baseUrlOf(replay.url, exchange, kind, `/f/${fault}`), { kind });
        const { events, error } = await eventsOf(provider.complete(question(), callOf({ streaming: true })));
        await provider.close();
        expect(error, fault).toBeInstanceOf(GatewayError);
        expect((error as GatewayError).reason, fault).toMatch(/^provider_(protocol|unavailable)$/);
        expect(events.filter(({ event }) => event.case === 'finished' || event.case === 'choiceFinished')).toEqual([]);
      }
    });
  }

  for (const { exchange, expected } of exchanges.filter((item) => item.expected.kind === 'embeddings')) {
    it(`${exchange.id} gives the recorded vectors`, async () => {
      const kind = expected.gateway_kind;
      const provider = providerAt(baseUrlOf(replay.url, exchange, kind), { kind });
      const inputs = Array.from({ length: expected.embeddings?.length ?? 1 }, (_, index) => ({
        kind: { case: 'text' as const, value: `text ${index}` },
      }));
      let result: EmbeddingResult | undefined;
      let reason = '';
      try {
        for await (const one of provider.embed(create(EmbeddingRequestSchema, { inputs }), callOf())) result = one;
      } catch (error) {
        reason = (error as GatewayError).reason;
      }
      if (mayFail(expected)) return expect(errorAllows(expected, reason)).toBe(true);
      expect(reason).toBe('');
      for (const [index, vector] of (expected.embeddings ?? []).entries()) {
        if (Array.isArray(vector)) expect(result?.embeddings[index]?.values).toEqual(vector);
      }
      expect(result?.embeddings.length).toBe(inputs.length);
      expect(same(expected.usage?.prompt, result?.usage?.promptTokens)).toBe(true);
    });
  }

  for (const { exchange, expected } of exchanges.filter((item) => item.expected.kind === 'models')) {
    it(`${exchange.id} lists the recorded models`, async () => {
      const kind = exchange.provider === 'github' ? 'github_models' : expected.gateway_kind;
      const base = exchange.provider === 'github' ? `${replay.url}/r/${exchange.id}/inference` : undefined;
      const provider = providerAt(base ?? baseUrlOf(replay.url, exchange, kind), { kind });
      const body = parsed(exchange.response.body) as { id: string }[] | { data: { id: string }[] };
      const recorded = Array.isArray(body) ? body : body.data;
      const listed = await provider.listModels(new AbortController().signal);
      expect(listed.map(({ id }) => id)).toEqual(recorded.map(({ id }) => id));
    });
  }
});
