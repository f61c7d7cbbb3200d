import type { ServerResponse } from 'node:http';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { create, toBinary, toJson } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Completion, type CompletionEvent, CompletionSchema } from '../../gen/llmgateway/v1/completion_pb.ts';
import {
  EmbeddingRequestSchema,
  type EmbeddingResult,
  EmbeddingResultSchema,
} from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { CompletionFold } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import type { ListedModel, Provider } from '../../src/providers/provider.ts';
import { brokenLaws } from '../support/event-laws.ts';
import { type Random, seeded } from '../support/recut.ts';
import { mutate } from './mutate.ts';
import { callOf, eventsOf, question, startUpstream, type Upstream } from './support.ts';

/** What an upstream answers to one request, and what must come of it. */
export interface Fixture {
  readonly name: string;
  /** The default value is `completion`. */
  readonly asks?: 'completion' | 'embeddings' | 'models';
  readonly streaming: boolean;
  readonly status: number;
  readonly body: string;
  readonly contentType?: string | undefined;
  /** How many texts to ask vectors for. The default value is 1. */
  readonly inputs?: number;
  /** How what was made of it differs from what should have been; null: it does not. The laws of events hold anyway. */
  readonly difference?: (told: Told) => string | null;
}

/** What an adapter made of an answer. */
export interface Told {
  readonly events: readonly CompletionEvent[];
  /** Whole, if it was finished. */
  readonly completion?: Completion | undefined;
  readonly embeddings?: EmbeddingResult | undefined;
  readonly models?: readonly ListedModel[] | undefined;
  readonly error?: unknown;
}

/** An adapter, and what to try it with. */
export interface ProviderSuiteOptions<Tried extends Fixture> {
  readonly fixtures: readonly Tried[];
  /** Build the adapter at an address. */
  readonly providerAt: (baseUrl: string, fixture: Tried) => Provider;
  /** What separates the pieces of a stream. */
  readonly separator: RegExp;
  /** A piece of a stream that cannot be read, with its separator. */
  readonly garbage: string;
  /** A piece of a stream that says that it failed, with its separator. */
  readonly failure: string;
  /** Other ways to write a stream that mean the same. */
  readonly variants?: Readonly<Record<string, (body: string) => string>>;
}

/** Reasons that an upstream may be blamed for, whatever it sends. */
const upstreamReasons = /^(provider_\w+|context_length)$/;
const brokenReasons = /^provider_(protocol|unavailable)$/;
const fuzzRuns = Number(process.env.FUZZ_RUNS ?? 500);
/** Longer bodies are not sent byte by byte: it would take long, and shorter ones have the same places to cut. */
const maxBytewise = 12_000;

/** How the upstream sends a body: whole, cut at random or at every byte, ended early, reset, or with something put in. */
type Manner = 'whole' | 'random' | 'bytes' | `end-${number}` | `reset-${number}` | `${'garbage' | 'failure'}-${number}`;

/**
 * Try an adapter with answers of its upstream: whole, cut anywhere, cut off anywhere, broken in every way.
 *
 * One suite for all of them. What a dialect means is in the fixtures' `difference`; the suite holds what must be so in every
 * dialect: a stream reads the same however its bytes arrive, nothing that was cut off is ever told as finished, and whatever
 * comes ends in an answer that keeps the laws, or in an error of the table.
 */
export function providerSuite<Tried extends Fixture>(title: string, options: ProviderSuiteOptions<Tried>): void {
  const { fixtures, separator, garbage, failure, variants = {} } = options;
  const completions = fixtures.filter(({ asks = 'completion' }) => asks === 'completion');
  const streams = completions.filter(({ streaming, status }) => streaming && status === 200);

  describe(title, () => {
    let upstream: Upstream;
    /** What is sent in the place of a fixture. */
    let instead: string | Buffer = '';
    beforeAll(async () => {
      upstream = await startUpstream((request, response) => {
        const [, manner = '', at = ''] = request.url?.split('/') ?? [];
        if (manner === 'instead') return void response.end(instead);
        if (manner === 'page') return void response.writeHead(502).end('<html><h1>502 Bad Gateway</h1></html>');
        if (manner === 'nothing') return void response.end();
        const fixture = fixtures[Number(at)];
        if (fixture) void send(response, fixture, manner as Manner);
      });
    });
    afterAll(() => upstream[Symbol.asyncDispose]());

    async function send(response: ServerResponse, fixture: Fixture, manner: Manner): Promise<void> {
      const body = Buffer.from(fixture.body);
      const [how = '', offset = ''] = manner.split('-');
      const at = Number(offset);
      response.writeHead(fixture.status, fixture.contentType ? { 'content-type': fixture.contentType } : {});
      response.socket?.setNoDelay(true);
      if (how === 'random' || how === 'bytes') {
        const random = seeded(body.length);
        for (let from = 0; from < body.length; ) {
          const to = how === 'bytes' ? from + 1 : from + 1 + Math.floor(random() ** 3 * 400);
          response.write(body.subarray(from, to));
          from = to;
          await setImmediate();
        }
      } else if (how !== 'whole') {
        response.write(body.subarray(0, at));
        if (how === 'garbage') response.write(garbage);
        if (how === 'failure') response.write(failure);
        await setImmediate();
        if (how === 'reset') return void response.socket?.resetAndDestroy();
        if (how !== 'end') response.write(body.subarray(at));
      } else response.write(body);
      response.end();
    }

    /** What the adapter makes of what the upstream sends. */
    async function tell(fixture: Tried, path: string): Promise<Told> {
      const provider = options.providerAt(`${upstream.url}/${path}`, fixture);
      try {
        if (fixture.asks === 'models') {
          return { events: [], models: await provider.listModels(new AbortController().signal) };
        }
        if (fixture.asks === 'embeddings') return { events: [], embeddings: await embed(provider, fixture) };
        const { events, error } = await eventsOf(
          provider.complete(question(), callOf({ streaming: fixture.streaming })),
        );
        return { events, error, completion: error === undefined ? fold(events) : undefined };
      } catch (error) {
        return { events: [], error };
      } finally {
        await provider.close();
      }
    }
    const tellAs = (fixture: Tried, manner: Manner) => tell(fixture, `${manner}/${fixtures.indexOf(fixture)}`);

    /** Nothing of an answer that was broken may look complete. */
    function expectFailure({ events, error }: Told, how: string): void {
      expect(error, how).toBeInstanceOf(GatewayError);
      expect((error as GatewayError).reason, how).toMatch(brokenReasons);
      expect(events.filter(isEnd), how).toEqual([]);
    }

    it.each(fixtures.map((fixture) => [fixture.name, fixture] as const))('%s is understood', async (_, fixture) => {
      const told = await tellAs(fixture, 'whole');

      if (told.error !== undefined) expect(told.error).toBeInstanceOf(GatewayError);
      else expect(brokenLawsOf(told)).toEqual([]);
      expect(fixture.difference?.(told) ?? null).toBeNull();
    });

    it.each(streams.map((fixture) => [fixture.name, fixture] as const))(
      '%s reads the same however it is cut and written',
      async (_, fixture) => {
        const whole = comparable(await tellAs(fixture, 'whole'));

        expect(comparable(await tellAs(fixture, 'random'))).toEqual(whole);
        if (fixture.body.length <= maxBytewise) expect(comparable(await tellAs(fixture, 'bytes'))).toEqual(whole);
        for (const [variant, write] of Object.entries(variants)) {
          instead = write(fixture.body);
          expect(comparable(await tell(fixture, 'instead')), variant).toEqual(whole);
        }
      },
    );

    it.each(completions.filter(({ status }) => status === 200).map((fixture) => [fixture.name, fixture] as const))(
      '%s is whole or failed wherever it ends',
      async (_, fixture) => {
        const whole = await tellAs(fixture, 'whole');
        if (!whole.completion) return;
        const random = seeded(fixture.body.length);
        const size = Buffer.byteLength(fixture.body);
        for (const how of ['end', 'reset'] as const) {
          for (let run = 0; run < 6; run++) {
            const at = Math.floor(random() * size);
            const told = await tellAs(fixture, `${how}-${at}`);
            if (told.completion) expect(wordsOf(told), `${how} at ${at}`).toEqual(wordsOf(whole));
            else expectFailure(told, `${how} at ${at}`);
          }
        }
        expectFailure(await tell(fixture, 'nothing'), 'an empty body');
        expectFailure(await tell(fixture, 'page'), 'a page for browsers');
      },
    );

    it.each(streams.map((fixture) => [fixture.name, fixture] as const))(
      '%s fails where something breaks within it',
      async (_, fixture) => {
        const whole = await tellAs(fixture, 'whole');
        if (!whole.completion) return;
        const at = middleOf(fixture.body, separator);

        expectFailure(await tellAs(fixture, `garbage-${at}`), 'garbage');
        expectFailure(await tellAs(fixture, `failure-${at}`), 'an error within');
      },
    );

    it(`ends ${fuzzRuns} broken answers in a right one or in an error of the table`, { timeout: 600_000 }, async () => {
      const random = seeded(20_26);
      let atFirst = Number.POSITIVE_INFINITY;
      for (let run = 0; run < fuzzRuns; run++) {
        // By then everything that is kept for good is there.
        if (run === 100) atFirst = await memoryInUse();
        const fixture = pick(fixtures, random);
        if (!fixture) return;
        const mutant = mutate(Buffer.from(fixture.body), random);
        instead = mutant;
        const told = await tell(fixture, 'instead');
        const what = () => `run ${run}: ${mutant.toString('latin1', 0, 2_000)}`;
        if (told.error === undefined) {
          expect(brokenLawsOf(told), what()).toEqual([]);
          continue;
        }
        expect(told.error, what()).toBeInstanceOf(GatewayError);
        expect((told.error as GatewayError).reason, what()).toMatch(upstreamReasons);
        expect(told.events.filter(isEnd), what()).toEqual([]);
      }
      instead = '';
      expect((await memoryInUse()) - atFirst, 'bytes of memory that broken answers left behind').toBeLessThan(
        20_000_000,
      );
    });
  });
}

/** Bytes that are still needed, on the heap and in buffers. */
async function memoryInUse(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc');
  collectGarbage();
  // Buffers are given back in the background, a moment later.
  await setTimeout(200);
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function pick<Item>(items: readonly Item[], random: Random): Item | undefined {
  return items[Math.floor(random() * items.length)];
}

/** A byte between two pieces of a stream, in its first half where there is one: what comes late may follow its end. */
function middleOf(body: string, separator: RegExp): number {
  const bytes = Buffer.from(body).toString('latin1');
  const ends = [...bytes.matchAll(new RegExp(separator, 'g'))].map(({ 0: match, index }) => index + match.length);
  return ends[Math.floor(ends.length * 0.3)] ?? 0;
}

/** The laws of events, and one more: what is told can be sent, in either form. */
function brokenLawsOf({ events, completion, embeddings }: Told): string[] {
  if (completion) {
    toBinary(CompletionSchema, completion);
    toJson(CompletionSchema, completion);
    return brokenLaws(events);
  }
  if (embeddings) toBinary(EmbeddingResultSchema, embeddings);
  return [];
}

function isEnd({ event }: CompletionEvent): boolean {
  return event.case === 'finished' || event.case === 'choiceFinished';
}

async function embed(provider: Provider, { inputs = 1 }: Fixture): Promise<EmbeddingResult | undefined> {
  const texts = Array.from({ length: inputs }, (_, index) => ({
    kind: { case: 'text' as const, value: `text ${index}` },
  }));
  let last: EmbeddingResult | undefined;
  for await (const one of provider.embed(create(EmbeddingRequestSchema, { inputs: texts }), callOf())) last = one;
  return last;
}

function fold(events: readonly CompletionEvent[]): Completion {
  const folded = new CompletionFold();
  for (const event of events) folded.add(event);
  return folded.result();
}

/** What was told, without what is made up anew each time: ids of tool calls that the upstream gave none. */
function comparable({ completion, error, events }: Told): unknown {
  const { reason, message } = (error ?? {}) as GatewayError;
  const text = events.map(({ event }) => (event.case === 'textDelta' ? event.value.text : '')).join('');
  const json = JSON.stringify(completion, (_, value) => (value instanceof Uint8Array ? [...value] : value));
  return { reason, message, text, completion: json?.replaceAll(/"call_[0-9a-f]{24}"/g, '"made up"') };
}

/** What the model said and called, choice by choice. */
function wordsOf({ completion }: Told): unknown {
  return completion?.choices.map(({ message }) =>
    message?.parts.map(({ kind }) => (kind.case === 'toolCall' ? [kind.value.name, kind.value.arguments] : kind.value)),
  );
}
