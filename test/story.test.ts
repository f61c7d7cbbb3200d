import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Role } from '../gen/llmgateway/v1/completion_pb.ts';
import { type Asked, type Doors, openDoors } from './support/doors.ts';
import { brokenLaws } from './support/event-laws.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { chunk, type Exchange, type ScriptedUpstream, startScriptedUpstream } from './support/scripted-upstream.ts';

// One conversation, in both words: a question, a tool call with reasoning before it, the tool's result, the answer.

const question = 'Wie ist das Wetter in Zürich? 🌦️';
const call = { id: 'call_1', name: 'weather', arguments: '{"city":"Zürich","unit":"°C"}' };
const result = '{"sky":"rain","temperature":9}';
const thought = 'I need the weather. 🤔';
const answer = 'Es regnet bei 9 °C. 🌧️';

const firstTurn: Asked = {
  model: 'scripted-model',
  tools: ['weather'],
  messages: [
    { role: Role.SYSTEM, parts: [{ kind: { case: 'text', value: 'Be brief.' } }] },
    { role: Role.USER, parts: [{ kind: { case: 'text', value: question } }] },
  ],
  openaiBody: {
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: question },
    ],
  },
};

const secondTurn: Asked = {
  ...firstTurn,
  messages: [
    ...(firstTurn.messages ?? []),
    { role: Role.ASSISTANT, parts: [{ kind: { case: 'toolCall', value: call } }] },
    { role: Role.TOOL, toolCallId: call.id, parts: [{ kind: { case: 'text', value: result } }] },
  ],
  openaiBody: {
    messages: [
      ...(firstTurn.openaiBody?.messages ?? []),
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: call.id, type: 'function', function: { name: call.name, arguments: call.arguments } }],
      },
      { role: 'tool', tool_call_id: call.id, content: result },
    ],
  },
};

/** The provider's side of the conversation, whole or streamed, as it is asked. */
async function play(exchange: Exchange): Promise<void> {
  const { body } = exchange.request;
  const messages = body?.messages as { role: string }[];
  const usage = { prompt_tokens: 20, completion_tokens: 9, total_tokens: 29 };
  const details = { completion_tokens_details: { reasoning_tokens: 4 }, prompt_tokens_details: { cached_tokens: 8 } };
  const usual = { id: 'x', created: 1, model: 'scripted-model', usage: { ...usage, ...details } };
  const second = messages.at(-1)?.role === 'tool';
  const toolCall = { id: call.id, type: 'function', function: { name: call.name, arguments: call.arguments } };
  if (body?.stream !== true) {
    const message = second
      ? { content: answer }
      : { content: null, reasoning_content: thought, tool_calls: [toolCall] };
    const finish_reason = second ? 'stop' : 'tool_calls';
    const choice = { index: 0, message: { role: 'assistant', ...message }, finish_reason };
    return exchange.json({ ...usual, object: 'chat.completion', choices: [choice] });
  }
  await exchange.event(chunk({ role: 'assistant', content: '' }));
  if (second) {
    for (const word of answer.split(/(?<= )/)) await exchange.event(chunk({ content: word }));
    await exchange.event(chunk({}, 'stop'));
  } else {
    for (const word of thought.split(/(?<= )/)) await exchange.event(chunk({ reasoning_content: word }));
    const opening = { ...toolCall, index: 0, function: { name: call.name, arguments: '' } };
    await exchange.event(chunk({ tool_calls: [opening] }));
    for (const piece of call.arguments.match(/.{1,5}/gsu) ?? []) {
      await exchange.event(chunk({ tool_calls: [{ index: 0, function: { arguments: piece } }] }));
    }
    await exchange.event(chunk({}, 'tool_calls'));
  }
  await exchange.event({ ...usual, object: 'chat.completion.chunk', choices: [] });
  exchange.done();
}

const doorNames = ['grpc', 'grpc-web', 'connect-binary', 'connect-json', 'openai', 'native'].flatMap((door) => [
  `${door} unary`,
  `${door} stream`,
]);

describe('one conversation through every door', () => {
  let upstream: ScriptedUpstream;
  let gateway: TestGateway;
  let doors: Doors;

  beforeAll(async () => {
    upstream = await startScriptedUpstream();
    upstream.script(play);
    gateway = await startGateway(
      {
        providers: [
          {
            name: 'scripted',
            kind: 'openai_compatible',
            base_url: upstream.url,
            api_key: 'upstream-secret',
            default_model: 'scripted-model',
          },
        ],
      },
      { GATEWAY_API_KEYS: 'ann:default:caller-secret' },
    );
    doors = openDoors(gateway.url);
  });

  afterAll(async () => {
    await doors.close();
    await gateway.close();
    await upstream.close();
  });

  const headers = { authorization: 'Bearer caller-secret' };

  it('knows every door', () => expect(doors.all.map(({ name }) => name).sort()).toEqual(doorNames.toSorted()));

  it.each(doorNames)('is the same at %s', async (name) => {
    const door = doors.named(name);
    const first = await door.ask({ ...firstTurn, headers });
    const second = await door.ask({ ...secondTurn, headers });

    expect([first.failure, second.failure]).toEqual([undefined, undefined]);
    expect(second.told).toMatchObject({ text: answer, reasoning: '', tool_calls: [], finish_reason: 'stop' });
    expect(second.told.usage).toMatchObject({ prompt: 20, completion: 9, total: 29 });
    if (door.family !== 'native') {
      const wish = { name: call.name, arguments: JSON.parse(call.arguments) };
      expect(first.told).toMatchObject({ text: '', reasoning: thought, tool_calls: [wish] });
      expect(first.told.usage).toMatchObject({ cached: 8, reasoning: 4 });
    }
    expect(first.told.finish_reason).toBe('tool_calls');
    for (const { headers: got, events } of [first, second]) {
      expect(got['x-selected-provider']).toBe('scripted');
      expect(got['x-request-id']).toMatch(/^[A-Za-z0-9._:-]{1,128}$/);
      if (events) expect(brokenLaws(events)).toEqual([]);
    }
  });

  it('asks the provider the same, whichever door the question came through', async () => {
    const before = upstream.requests.length;
    for (const { ask } of doors.all) await ask({ ...secondTurn, headers });
    const asked = upstream.requests.slice(before).map(({ body }) => {
      const { stream, stream_options, ...rest } = body ?? {};
      return rest;
    });
    expect(asked).toHaveLength(doors.all.length);
    for (const body of asked) expect(body).toEqual(asked[0]);
  });

  it('sends the provider its own key and never the caller’s', () => {
    for (const { headers: sent } of upstream.requests) {
      expect(sent.authorization).toBe('Bearer upstream-secret');
      expect(JSON.stringify(sent)).not.toContain('caller-secret');
    }
  });

  it('carries the caller’s request id to the provider, the answer and the log at every door', async () => {
    for (const [index, { ask }] of doors.all.entries()) {
      const id = `story-${index}`;
      const outcome = await ask({ ...secondTurn, headers: { ...headers, 'x-request-id': id } });
      expect(outcome.headers['x-request-id']).toBe(id);
      expect(upstream.requests.at(-1)?.headers['x-request-id']).toBe(id);
      expect(gateway.lines.filter((line) => JSON.stringify(line).includes(`"${id}"`))).toHaveLength(1);
    }
  });

  it.each(doorNames)('needs a key at %s', async (name) => {
    const before = upstream.requests.length;
    const { failure, told } = await doors.named(name).ask(firstTurn);
    expect(failure?.status ?? failure?.code).toBe(failure?.status ? 401 : 'unauthenticated');
    expect(told.text).toBe('');
    expect(upstream.requests.length).toBe(before);
  });

  it.each(doorNames)('knows no other model at %s', async (name) => {
    const { failure } = await doors.named(name).ask({ ...firstTurn, headers, model: 'scripted-modle' });
    expect(failure?.status ?? failure?.code).toBe(failure?.status ? 404 : 'not_found');
    expect(failure?.message).toContain('scripted-model');
  });

  it('writes no secret and no prompt into the log', () => {
    const log = JSON.stringify(gateway.lines);
    expect(gateway.lines.length).toBeGreaterThan(20);
    for (const secret of ['caller-secret', 'upstream-secret', question, thought, result])
      expect(log).not.toContain(secret);
  });
});
