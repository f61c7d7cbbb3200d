import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import {
  type Completion,
  CompletionRequestSchema,
  FinishReason,
  Role,
  ToolChoiceMode,
} from '../../gen/llmgateway/v1/completion_pb.ts';
import { collect } from '../../src/completion.ts';
import { GatewayError } from '../../src/errors.ts';
import { createProvider } from '../../src/providers/registry.ts';
import { brokenLaws } from '../support/event-laws.ts';
import { callOf, eventsOf, question, vectorsOf } from './support.ts';

const demo = createProvider({ name: 'demo', kind: 'demo' });

type Fields = MessageInitShape<typeof CompletionRequestSchema>;

function says(value: string, role: Role = Role.USER) {
  return { role, parts: [{ kind: { case: 'text' as const, value } }] };
}

async function ask(fields: Fields): Promise<Completion> {
  return collect(demo.complete(create(CompletionRequestSchema, { messages: [says('hi')], ...fields }), callOf()));
}

function textOf({ choices }: Completion): string {
  const kind = choices[0]?.message?.parts[0]?.kind;
  return kind?.case === 'text' ? kind.value : '';
}

function callsOf({ choices }: Completion): unknown[] {
  return (choices[0]?.message?.parts ?? []).map(({ kind }) =>
    kind.case === 'toolCall' ? [kind.value.name, JSON.parse(kind.value.arguments)] : kind.case,
  );
}

const weather = {
  kind: {
    case: 'function' as const,
    value: {
      name: 'get_weather',
      parametersJson: '{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}}}',
    },
  },
};
const time = { kind: { case: 'function' as const, value: { name: 'get_time' } } };

describe('the demo', () => {
  it('says what it is, in its model and its text, and repeats the question', async () => {
    const completion = await ask({ messages: [says('What is it?')] });

    expect(completion.model).toBe('demo-1');
    expect(textOf(completion)).toMatch(
      /^This is demo-1, the demo of LLM Gateway: no language model is behind it\. You said: What is it\?$/,
    );
    expect(completion.choices[0]?.finishReason).toBe(FinishReason.STOP);
  });

  it('says the same every time, streamed or not, and counts what it said', async () => {
    const { events } = await eventsOf(demo.complete(question('hi'), callOf({ streaming: true })));
    const once = await ask({});

    expect(brokenLaws(events)).toEqual([]);
    expect(textOf(await ask({}))).toBe(textOf(once));
    expect(events.map(({ event }) => (event.case === 'textDelta' ? event.value.text : '')).join('')).toBe(textOf(once));
    expect(once.usage).toMatchObject({
      estimated: true,
      promptTokens: 1,
      completionTokens: events.filter(({ event }) => event.case === 'textDelta').length,
    });
  });

  it('streams 30 to 50 tokens a second, and answers at once otherwise', async () => {
    const began = performance.now();
    await ask({});
    const unary = performance.now() - began;
    const { events } = await eventsOf(demo.complete(question('hi'), callOf({ streaming: true })));
    const perSecond = events.length / ((performance.now() - began - unary) / 1_000);

    expect(unary).toBeLessThan(100);
    expect(perSecond).toBeLessThan(50);
  });

  it('stops at once when it is aborted', async () => {
    const controller = new AbortController();
    const reason = new GatewayError('cancelled', 'the caller left');
    const events = demo
      .complete(question('hi'), callOf({ streaming: true, signal: controller.signal }))
      [Symbol.asyncIterator]();
    await events.next();
    const waiting = events.next();
    controller.abort(reason);

    await expect(waiting).rejects.toBe(reason);
    await expect(eventsOf(demo.complete(question(), callOf({ signal: controller.signal })))).resolves.toMatchObject({
      error: reason,
    });
  });

  it('keeps to the limit of tokens and to stop texts', async () => {
    const short = await ask({ maxOutputTokens: 2 });
    const stopped = await ask({ stop: ['language', 'demo of'] });

    expect([textOf(short), short.choices[0]?.finishReason]).toEqual(['This is', FinishReason.LENGTH]);
    expect([textOf(stopped), stopped.choices[0]?.stopSequence]).toEqual(['This is demo-1, the ', 'demo of']);
  });

  it('makes as many answers as asked', async () => {
    expect((await ask({ n: 3 })).choices.map(({ index }) => index)).toEqual([0, 1, 2]);
  });

  it('answers in JSON when asked for it', async () => {
    const schema =
      '{"type":"object","properties":{"name":{"type":"string"},"tags":{"type":"array","items":{"enum":["a"]}},"n":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"number","minimum":3}}}';
    const any = await ask({ responseFormat: { kind: { case: 'jsonObject', value: {} } } });
    const fitting = await ask({
      responseFormat: { kind: { case: 'jsonSchema', value: { name: 'x', schemaJson: schema } } },
    });

    expect(JSON.parse(textOf(any))).toMatchObject({ model: 'demo-1', demo: true });
    expect(JSON.parse(textOf(fitting))).toEqual({ name: 'You said: hi', tags: ['a'], n: 3 });
  });

  it('calls the tools that the question names', async () => {
    const completion = await ask({ messages: [says('get weather in Rome')], tools: [weather, time] });

    expect(callsOf(completion)).toEqual([['get_weather', { city: 'get weather in Rome', days: 1 }]]);
    expect(completion.choices[0]?.finishReason).toBe(FinishReason.TOOL_CALLS);
    expect(callsOf(await ask({ messages: [says('get_time, get_weather')], tools: [weather, time] })).length).toBe(2);
    expect(
      callsOf(
        await ask({ messages: [says('get_time, get_weather')], tools: [weather, time], parallelToolCalls: false }),
      ).length,
    ).toBe(1);
  });

  it('calls the tool it must, and none that it must not', async () => {
    const must = { mode: ToolChoiceMode.REQUIRED };

    expect(callsOf(await ask({ tools: [weather, time], toolChoice: { ...must, allowedTools: ['get_time'] } }))).toEqual(
      [['get_time', {}]],
    );
    expect(callsOf(await ask({ tools: [weather, time], toolChoice: must }))).toMatchObject([
      ['get_weather', { days: 1 }],
    ]);
    expect(
      callsOf(await ask({ messages: [says('get_time')], tools: [time], toolChoice: { mode: ToolChoiceMode.NONE } })),
    ).toEqual(['text']);
    expect(callsOf(await ask({ tools: [weather] }))).toEqual(['text']);
  });

  it('answers once the tool has', async () => {
    const asked = await ask({ messages: [says('get_time')], tools: [time] });
    const message = asked.choices[0]?.message;
    const result = { ...says('noon', Role.TOOL), toolCallId: 'call_demo_1' };
    const completion = await ask({
      messages: [says('get_time'), ...(message ? [message] : []), result],
      tools: [time],
    });

    expect(textOf(completion)).toContain('The tool answered: noon');
  });

  it('lists what it leaves out', async () => {
    expect((await ask({ extraJson: { openai: '{"x":1}' } })).droppedFields).toEqual(['extra_json.openai']);
  });

  it('makes up vectors of length 1, nearer for texts with common words', async () => {
    const inputs = ['a red fox', 'a red dog', 'zinc'].map((value) => ({ kind: { case: 'text' as const, value } }));
    const result = await vectorsOf(demo, { inputs, dimensions: 64 });
    const [fox, dog, zinc] = result.embeddings.map(({ values }) => values);
    const dot = (a: number[] = [], b: number[] = []) =>
      a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);

    expect(fox?.length).toBe(64);
    expect(dot(fox, fox)).toBeCloseTo(1, 5);
    expect(dot(fox, dog)).toBeGreaterThan(dot(fox, zinc));
  });

  it('makes no vectors of absurd length', async () => {
    const inputs = [{ kind: { case: 'text' as const, value: 'a' } }];

    await expect(vectorsOf(demo, { inputs, dimensions: 4_000_000_000 })).rejects.toMatchObject({
      reason: 'invalid_request',
    });
  });
});
