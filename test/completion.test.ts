import { create, equals, fromBinary, fromJson, toBinary, toJson } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Completion,
  type CompletionEvent,
  CompletionEventSchema,
  CompletionSchema,
  FinishReason,
  MediaSchema,
  UsageSchema,
} from '../gen/llmgateway/v1/completion_pb.ts';
import {
  CompletionFold,
  choiceFinished,
  collect,
  commits,
  compose,
  extra,
  finished,
  heartbeat,
  type Layer,
  mediaDelta,
  mergeExtra,
  reasoningDelta,
  refusalDelta,
  replay,
  started,
  textDelta,
  toolCallDelta,
  usage,
} from '../src/completion.ts';
import { brokenLaws } from './support/event-laws.ts';
import { completions, usageEvents } from './support/random-completion.ts';
import { recut, seeded } from './support/recut.ts';

fc.configureGlobal({ numRuns: 200 });
const seeds = fc.integer();

function fold(events: Iterable<CompletionEvent>): Completion {
  const completion = new CompletionFold();
  for (const event of events) completion.add(event);
  return completion.result();
}

describe('replay', () => {
  it('tells a completion by events that fold into it again', () => {
    fc.assert(fc.property(completions, (completion) => equals(CompletionSchema, fold(replay(completion)), completion)));
  });

  it('keeps the laws of streams', () => {
    fc.assert(
      fc.property(completions, (completion) => {
        expect(brokenLaws([...replay(completion)])).toEqual([]);
      }),
    );
  });
});

describe('collect', () => {
  it('gives the same for any cut of the deltas, with heartbeats, empty deltas, early usage and interleaved parts', () => {
    fc.assert(
      fc.property(completions, seeds, fc.array(usageEvents, { maxLength: 2 }), (completion, seed, early) => {
        const events = recut([...replay(completion)], seeded(seed), early);
        expect(brokenLaws(events)).toEqual([]);
        return equals(CompletionSchema, fold(events), completion);
      }),
    );
  });

  it('gives the same after every event has been through the binary form and through JSON', () => {
    fc.assert(
      fc.property(completions, seeds, (completion, seed) => {
        const events = recut([...replay(completion)], seeded(seed));
        for (const event of events) {
          const binary = fromBinary(CompletionEventSchema, toBinary(CompletionEventSchema, event));
          const json = fromJson(CompletionEventSchema, toJson(CompletionEventSchema, event));
          if (!equals(CompletionEventSchema, binary, event) || !equals(CompletionEventSchema, json, event))
            return false;
        }
        return true;
      }),
    );
  });

  it('gives a completion that survives the binary form and JSON', () => {
    fc.assert(
      fc.property(completions, (completion) => {
        const folded = fold(replay(completion));
        const binary = fromBinary(CompletionSchema, toBinary(CompletionSchema, folded));
        const json = fromJson(CompletionSchema, toJson(CompletionSchema, folded));
        return equals(CompletionSchema, binary, completion) && equals(CompletionSchema, json, completion);
      }),
    );
  });

  it('leaves the events unchanged, and the completion that they were told from', () => {
    fc.assert(
      fc.property(completions, seeds, (completion, seed) => {
        const events = recut([...replay(completion)], seeded(seed));
        const bytes = () => [
          toBinary(CompletionSchema, completion),
          ...events.map((event) => toBinary(CompletionEventSchema, event)),
        ];
        const before = bytes();
        fold(events);
        expect(bytes()).toEqual(before);
      }),
    );
  });

  it('refuses every stream that was cut before its last event', () => {
    fc.assert(
      fc.property(completions, seeds, (completion, seed) => {
        const events = recut([...replay(completion)], seeded(seed));
        const cut = events.slice(0, Math.floor(seeded(seed + 1)() * events.length));
        expect(() => fold(cut)).toThrow(expect.objectContaining({ reason: 'provider_protocol' }));
      }),
    );
  });

  it('reads an asynchronous stream to its end', async () => {
    async function* stream() {
      yield heartbeat;
      yield started('m', { provider: 'p' });
      yield textDelta(0, 0, 'Hel');
      yield textDelta(0, 0, 'lo');
      yield choiceFinished(0, FinishReason.STOP, 'stop');
      yield finished(undefined);
    }
    const { choices, model, provider } = await collect(stream());
    expect({ model, provider }).toEqual({ model: 'm', provider: 'p' });
    expect(choices[0]?.message?.parts[0]?.kind).toEqual({ case: 'text', value: 'Hello' });
  });

  it('rejects with what the stream failed with', async () => {
    // biome-ignore lint/correctness/useYield: a stream that fails before its first event
    async function* stream(): AsyncGenerator<CompletionEvent> {
      throw new RangeError('upstream');
    }
    await expect(collect(stream())).rejects.toThrow(RangeError);
  });

  it('takes the last usage, and that of `finished` before all, even when it is unset', () => {
    const early = usage(create(UsageSchema, { promptTokens: 7 }));
    const ending = [choiceFinished(0, FinishReason.STOP), finished(undefined)];
    expect(fold([started('m'), early, ...ending]).usage).toBeUndefined();
  });

  it.each([
    ['a gap in the parts', [textDelta(0, 1, 'x')], 'part 1 opened where part 0 was due'],
    ['a change of kind', [textDelta(0, 0, 'x'), reasoningDelta(0, 0, 'y')], 'from text to reasoning'],
    ['text that becomes a tool call', [textDelta(0, 0, 'x'), toolCallDelta(0, 0, '{}')], 'from text to toolCall'],
    [
      'an image that becomes sound',
      [
        mediaDelta(0, 0, { case: 'image', value: create(MediaSchema) }),
        mediaDelta(0, 0, { case: 'audio', value: create(MediaSchema) }),
      ],
      'from image to audio',
    ],
  ])('refuses %s', (_, events, message) => {
    expect(() => fold([started('m'), ...events])).toThrow(message);
  });
});

describe('commits', () => {
  const media = create(MediaSchema, { source: { case: 'fileId', value: 'f' } });

  it.each([
    ['text', textDelta(0, 0, 'x')],
    ['reasoning', reasoningDelta(0, 0, 'x')],
    ['a refusal', refusalDelta(0, 0, 'x')],
    ['the first delta of a tool call', toolCallDelta(0, 0, '', { id: '1', name: 'f' })],
    ['media', mediaDelta(0, 0, { case: 'image', value: media })],
    ['an opaque block', extra('anthropic', '{"type":"server_tool_use"}', 0, 0)],
    ['the end of a choice', choiceFinished(0, FinishReason.CONTENT_FILTER)],
  ])('is true of %s', (_, event) => expect(commits(event)).toBe(true));

  it.each([
    ['the start', started('m')],
    ['a heartbeat', heartbeat],
    ['usage', usage(create(UsageSchema, { promptTokens: 1 }))],
    ['an extra of the completion', extra('openai', '{"system_fingerprint":"x"}')],
    ['an extra of the message', extra('openai', '{"channel":"final"}', 0)],
    ['an empty text', textDelta(0, 0, '')],
    ['an empty reasoning', reasoningDelta(0, 0, '')],
    ['an empty refusal', refusalDelta(0, 0, '')],
    ['an event of a kind that is not known yet', create(CompletionEventSchema)],
  ])('is false of %s', (_, event) => expect(commits(event)).toBe(false));
});

describe('mergeExtra', () => {
  it('keeps the first object to the letter', () => {
    const into: Record<string, string> = {};
    mergeExtra(into, 'openai', '{"seed": 12345678901234567890,  "b":1.0}');
    expect(into).toEqual({ openai: '{"seed": 12345678901234567890,  "b":1.0}' });
  });

  it('lets a later object win by top-level key, family by family', () => {
    const into = { openai: '{"a":1,"b":{"c":1}}', gemini: '{"a":0}' };
    mergeExtra(into, 'openai', '{"b":{"d":2}}');
    expect(into).toEqual({ openai: '{"a":1,"b":{"d":2}}', gemini: '{"a":0}' });
  });
});

describe('compose', () => {
  it('lets the layer listed first meet the call first', async () => {
    const named =
      (name: string): Layer<string[], string[]> =>
      (next) =>
      (request, context) =>
        next([...request, name], context);
    async function* innermost(request: string[]) {
      yield request;
    }
    const complete = compose([named('outer'), named('inner')], innermost);
    const seen: string[][] = [];
    for await (const event of complete([], {} as never)) seen.push(event);
    expect(seen).toEqual([['outer', 'inner']]);
  });
});

describe('brokenLaws', () => {
  const whole = [started('m'), textDelta(0, 0, 'a'), choiceFinished(0, FinishReason.STOP), finished(undefined)];

  it('finds nothing in a lawful stream', () => expect(brokenLaws([heartbeat, ...whole])).toEqual([]));

  it.each([
    ['no start', whole.slice(1)],
    ['two starts', [started('m'), ...whole]],
    ['no end', whole.slice(0, -1)],
    ['something after the end', [...whole, heartbeat]],
    ['a choice without an end', [started('m'), textDelta(0, 0, 'a'), finished(undefined)]],
    ['a choice that ends twice', [...whole.slice(0, 3), ...whole.slice(2)]],
    ['a delta after the end of its choice', [...whole.slice(0, 3), textDelta(0, 0, 'b'), finished(undefined)]],
    ['a part out of order', [started('m'), textDelta(0, 1, 'a'), ...whole.slice(2)]],
    ['a change of kind', [started('m'), textDelta(0, 0, 'a'), refusalDelta(0, 0, 'b'), ...whole.slice(2)]],
    ['half a character', [started('m'), textDelta(0, 0, '\ud83d'), ...whole.slice(2)]],
    ['a tool call without a name', [started('m'), toolCallDelta(0, 0, '{}'), ...whole.slice(2)]],
    ['no choice at all', [started('m'), finished(undefined)]],
  ])('names %s', (_, events) => expect(brokenLaws(events)).not.toEqual([]));
});
