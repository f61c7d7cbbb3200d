import { create, equals, fromBinary, fromJson, toBinary, toJson, toJsonString } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Completion,
  type CompletionEvent,
  CompletionEventSchema,
  CompletionSchema,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionFold, replay } from '../../src/completion.ts';
import type { Door, Doors, Outcome } from '../support/doors.ts';
import { openDoors } from '../support/doors.ts';
import { brokenLaws } from '../support/event-laws.ts';
import { startGateway } from '../support/gateway.ts';
import { recut, seeded } from '../support/recut.ts';
import { type Expectation, type Oracle, type ReplayServer, recordings, startReplay } from '../support/replay.ts';
import {
  followsOpenAI,
  loadRecorded,
  modelOf,
  providerFor,
  providerName,
  type Recorded,
  retired,
  type Split,
  toolsOf,
} from './recorded.ts';
import { differences, faultsOf } from './same-request.ts';

const splits: readonly Split[] = ['event', 'random', 'byte'];

const { oracle, recorded } = recordings.missing
  ? { oracle: undefined as unknown as Oracle, recorded: [] }
  : await loadRecorded('chat');
const named = recorded.flatMap((each) => (each.recording.id === retired ? [] : [[each.recording.id, each] as const]));

describe.skipIf(recordings.missing)('recorded answers', () => {
  let server: ReplayServer;
  let gateway: Awaited<ReturnType<typeof startGateway>>;
  let doors: Doors;

  beforeAll(async () => {
    server = await startReplay();
    gateway = await startGateway({
      server: { body_limit_bytes: 50_000_000 },
      providers: recorded.flatMap((each) => splits.map((split) => providerFor(each, server.url, split))),
      retry: { attempts_per_target: 1, attempts: 1 },
    });
    doors = openDoors(gateway.url);
  });
  afterAll(async () => {
    await doors?.close();
    await gateway?.close();
    await server?.close();
  });

  let calls = 0;

  /** Ask a door for a recording; tells what came, and the request that reached the provider. */
  async function ask(door: Door, each: Recorded, split: Split): Promise<{ outcome: Outcome; requestId: string }> {
    const { body, body_trimmed } = each.recording.request as { body?: Record<string, unknown>; body_trimmed?: boolean };
    const messages = body?.messages;
    const verbatim = door.family === 'openai' && Array.isArray(messages) && !body_trimmed;
    const requestId = `replay-${calls++}`;
    const outcome = await door.ask({
      model: modelOf(each),
      provider: providerName(each, split),
      fallback: false,
      headers: { 'x-request-id': requestId },
      ...(verbatim
        ? { openaiBody: { ...body, messages } }
        : { tools: toolsOf(each), text: `Replay of ${each.recording.id}.` }),
    });
    // What one call has taught of the provider must not keep the next one from it.
    gateway.app.gateway.resetCircuitBreaker(providerName(each, split), '');
    return { outcome, requestId };
  }

  it.concurrent.each(named)(
    '%s comes out equal at every door',
    async (_, each) => {
      const { expectation } = each;
      const complaints: string[] = [];
      const answers: Outcome[] = [];
      // A whole answer comes out equal as a stream, too: the providers send what they like, whatever they were asked for.
      for (const door of doors.all.filter(({ streaming }) => streaming || !expectation.stream)) {
        for (const split of expectation.stream ? splits : (['event'] as const)) {
          const { outcome } = await ask(door, each, split);
          answers.push(outcome);
          const complaint = complaintAbout(door, expectation, outcome);
          if (complaint) complaints.push(`${door.name}, cut at ${split}: ${complaint}`);
        }
      }
      complaints.push(...disagreements(answers));
      expect(complaints).toEqual([]);
    },
    60_000,
  );

  const openai = named.filter(([, each]) => followsOpenAI(each));
  it.concurrent.each(openai)('%s is asked for by a valid request, the same as the recorded one', async (id, each) => {
    const names = each.expectation.stream ? ['grpc stream', 'openai stream'] : ['connect-json unary', 'openai unary'];
    const asked: string[] = [];
    for (const name of names) asked.push((await ask(doors.named(name), each, 'event')).requestId);
    const requests = await server.requests(id);
    const sent = asked.map(
      (requestId) => requests.find(({ headers }) => headers['x-request-id'] === requestId)?.bodyJson,
    );

    expect(sent.map(faultsOf)).toEqual([[], []]);
    const { body, body_trimmed } = each.recording.request as {
      body?: Record<string, unknown>;
      body_trimmed?: boolean;
    };
    if (Array.isArray(body?.messages) && !body_trimmed) {
      expect(differences(body, sent[1] as Record<string, unknown>)).toEqual([]);
    }
  });

  it('a retired service is refused once, and then not asked again', async () => {
    const each = recorded.find(({ recording }) => recording.id === retired);
    if (!each) throw new Error(`${retired} is gone`);
    const door = doors.named('openai unary');
    const first = await ask(door, each, 'event');
    const second = await ask(door, each, 'event');
    expect(first.outcome.failure).toMatchObject({ status: 502, reason: 'provider_misconfigured' });
    expect(second.outcome.failure).toMatchObject({ status: 503, reason: 'no_provider_available' });
    expect(second.outcome.failure?.message).toContain('shut down on 2026-07-30');
    const asked = await server.requests(retired);
    expect(asked.filter(({ method }) => method === 'POST')).toHaveLength(1);
  });
});

/** What keeps an outcome from being what the oracle expects; undefined: nothing. */
function complaintAbout(door: Door, expectation: Expectation, outcome: Outcome): string | undefined {
  const { told, failure, events, completion } = outcome;
  const complete = !failure;
  if (complete && oracle.mustFail(expectation))
    return `no failure, but ${oracle.classesOf(expectation).join(' or ')} is due`;
  if (failure && !oracle.mayFail(expectation)) return `failed: ${JSON.stringify(failure)}`;
  const broken = events && completion ? brokenLaws(events).concat(brokenFolds(events, completion)) : [];
  if (broken.length > 0) return broken.join('; ');
  if (complete) return oracle.firstDiff(nativeFields(door, expectation), told) ?? undefined;

  const named = oracle.classesOf(expectation).filter((word) => {
    const row = oracle.ERROR_TABLE[word];
    if (!row) return false;
    if (failure.reason !== word) return false;
    if (door.family === 'rpc') return row.connect === failure.code;
    if (failure.status !== undefined && failure.status !== row.http) return false;
    return door.family === 'native' || (row.type === failure.type && oracle.same(row.code, failure.openaiCode ?? null));
  });
  if (named.length === 0) return `${JSON.stringify(failure)} is not ${oracle.classesOf(expectation).join(' or ')}`;
  if (door.family !== 'rpc' && door.streaming && expectation.error_at === 'start' && failure.status === undefined) {
    return 'an error frame where an HTTP status is due';
  }
  if (expectation.error_at !== 'midstream') return undefined;
  return oracle.firstDiff(expectation, told, door.family === 'native' ? ['text'] : ['text', 'reasoning']) ?? undefined;
}

/** The native shape has places for text, finish reason and three counts of tokens. */
function nativeFields(door: Door, expectation: Expectation): Expectation {
  if (door.family !== 'native') return expectation;
  const { usage } = expectation as { usage?: Record<string, unknown> };
  const { cached: _, reasoning: __, ...counts } = usage ?? {};
  const { reasoning: ___, tool_calls: ____, ...rest } = expectation as Expectation & { reasoning?: unknown };
  return usage === oracle.ANY || !usage ? (rest as Expectation) : ({ ...rest, usage: counts } as Expectation);
}

/** The laws of folding, over recorded events as over random ones. */
function brokenFolds(events: readonly CompletionEvent[], completion: Completion): string[] {
  const content = events.filter(({ event }) => event.case !== 'heartbeat');
  const random = seeded(events.length);
  const folds: Record<string, Iterable<CompletionEvent>> = {
    'told again': replay(completion),
    'cut anew': recut(content, random),
    'through the binary form': events.map((event) =>
      fromBinary(CompletionEventSchema, toBinary(CompletionEventSchema, event)),
    ),
    'through JSON': events.map((event) => fromJson(CompletionEventSchema, toJson(CompletionEventSchema, event))),
  };
  return Object.entries(folds).flatMap(([name, own]) => {
    const fold = new CompletionFold();
    for (const event of own) fold.add(event);
    return equals(CompletionSchema, fold.result(), completion) ? [] : [`another answer when ${name}`];
  });
}

/** Whether all doors that answered whole say the same; ids that a provider did not give are made up anew each time. */
function disagreements(answers: readonly Outcome[]): string[] {
  const whole = answers.flatMap(({ completion, failure }) => (completion && !failure ? [completion] : []));
  const said = whole.map(({ model, choices, usage, extraJson }) =>
    toJsonString(
      CompletionSchema,
      create(CompletionSchema, { model, choices, extraJson, ...(usage && { usage }) }),
    ).replaceAll(/"call_[0-9a-f]{24}"/g, '"made up"'),
  );
  return said.flatMap((each) => (each === said[0] ? [] : [`${each} is not ${said[0]}`]));
}
