import type { ChatCompletionMessageParam as Message } from 'openai/resources/chat/completions';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generationOf } from '../../src/providers/gemini-generations.ts';
import { dummySignature } from '../../src/providers/gemini-signatures.ts';
import { corpora, loadOracle, type Oracle, type Recording, recordings } from '../support/replay.ts';
import { type Dialect, dialects, type Json, readConversation, type Turn } from './dialects.ts';
import {
  ask,
  callsIn,
  expectAlternation,
  type Kind,
  kinds,
  providerOf,
  type Stage,
  standardOnly,
  startStage,
  toolsNamed,
} from './stage.ts';

// Every recorded answer that calls tools goes on: OpenAI's SDK sends it back with results, and its provider gets what its dialect
// wants of a turn that it took itself.

interface Call {
  readonly name: string;
  readonly arguments: unknown;
}

interface Answer {
  readonly recording: Recording;
  readonly kind: Kind;
  readonly model: string;
  readonly calls: readonly Call[];
}

const oracle = recordings.missing ? (undefined as unknown as Oracle) : await loadOracle();
const all = recordings.missing ? [] : oracle.loadCorpus(corpora);
const answers = all.flatMap((recording): Answer[] => {
  const { provider, response } = recording;
  const expected = oracle.expected(recording);
  const kind = kinds.find((name) => name === (expected.gateway_kind ?? provider));
  const calls = kind === 'anthropic' ? callsOfClaude(recording) : expected.kind === 'chat' ? expected.tool_calls : [];
  if (!kind || response.status !== 200 || !Array.isArray(calls) || calls.length === 0 || expected.error_class)
    return [];
  return [{ recording, kind, model: expected.model || recording.model || 'model-1', calls }];
});

describe.skipIf(recordings.missing)('recorded tool calls', () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await startStage();
  });
  afterAll(() => stage?.[Symbol.asyncDispose]());

  it('are there in every dialect', () => {
    const parallel = answers.filter(({ calls }) => calls.length > 1);
    for (const kind of kinds) expect(parallel.some((answer) => answer.kind === kind)).toBe(true);
  });

  describe.each(answers.map((answer) => [answer.recording.id, answer] as const))('%s', (_, answer) => {
    const { recording, kind, model, calls } = answer;
    const dialect: Dialect = dialects[kind];
    const streaming = recording.tags.includes('stream');

    /** Take the recorded answer, send it back as `kept`, with results; tells the conversation that the provider gets. */
    async function goOn(kept: (message: Message) => Message): Promise<Turn[]> {
      const question: Message = { role: 'user', content: 'What is it?' };
      const asked = { model: `${providerOf(kind)}/${model}`, tools: toolsNamed(calls.map(({ name }) => name)) };
      stage.play(recording.response.body, dialect.write(dialect.saying('Done.'), streaming));
      const called = await ask(stage.client, { ...asked, messages: [question] }, streaming);
      const results = callsIn(called).map(({ id }, index) => ({
        role: 'tool' as const,
        tool_call_id: id,
        content: `result ${index}`,
      }));
      const said = await ask(stage.client, { ...asked, messages: [question, kept(called), ...results] }, streaming);

      expect(said.content).toBe('Done.');
      const [, sent = {}] = stage.sent();
      expectAlternation(kind, sent);
      return readConversation(dialect, sent);
    }

    function expectCallsAndResults([question, called, answered, ...more]: Turn[]): void {
      expect(question).toMatchObject({ role: 'user', text: 'What is it?' });
      expect(called?.role).toBe('assistant');
      expect(
        oracle.same(
          calls,
          called?.calls.map(({ name, arguments: args }) => ({ name, arguments: args })),
        ),
      ).toBe(true);
      const ids = calls.map((_call, index) => `#${index}`);
      expect(called?.calls.map(({ id }) => id)).toEqual(ids);
      expect(answered?.results.map(({ id }) => id)).toEqual(ids);
      for (const [index, { name, text }] of (answered?.results ?? []).entries()) {
        expect(text).toContain(`result ${index}`);
        if (kind === 'gemini' || kind === 'ollama') expect(name).toBe(calls[index]?.name);
      }
      expect(more).toEqual([]);
    }

    it('goes on where all that came is sent back', async () => {
      const turns = await goOn((message) => message);

      expectCallsAndResults(turns);
      if (kind === 'anthropic') expect(turns[1]?.thoughts).toEqual(thoughtsOfClaude(recording));
      if (kind !== 'gemini') return;
      const [first = needsSignature(model) ? dummySignature : undefined, ...others] = signaturesOf(recording);
      expect(turns[1]?.calls.map(({ signature }) => signature)).toEqual([first, ...others]);
    });

    it('goes on where a client keeps only what OpenAI defines', async () => {
      const turns = await goOn(standardOnly);

      expectCallsAndResults(turns);
      expect(turns[1]?.thoughts).toEqual([]);
      const [first, ...others] = turns[1]?.calls.map(({ signature }) => signature) ?? [];
      expect(first).toBe(kind === 'gemini' && needsSignature(model) ? dummySignature : undefined);
      expect(others.filter(Boolean)).toEqual([]);
    });
  });
});

function needsSignature(model: string): boolean {
  return generationOf(model) >= 3;
}

// Readings of the recordings of their own.

/** The JSON values in an answer, streamed or not. */
function valuesIn({ response: { body } }: Recording): Json[] {
  if (!/^(data|event):/m.test(body)) return [JSON.parse(body)];
  return body.split(/\r?\n/).flatMap((line) => (line.startsWith('data:') ? [JSON.parse(line.slice(5))] : []));
}

/** Gemini's signature of each call. */
function signaturesOf(recording: Recording): unknown[] {
  const candidates = valuesIn(recording).flatMap(
    (value) => (value.candidates as { content?: Json }[] | undefined) ?? [],
  );
  const parts = candidates.flatMap(({ content }) => (content?.parts as Json[] | undefined) ?? []);
  return parts
    .filter(({ functionCall }) => (functionCall as Json | undefined)?.name !== undefined)
    .map(({ thoughtSignature }) => thoughtSignature);
}

/** Claude's blocks, put together where they were streamed. */
function blocksOfClaude(recording: Recording): Json[] {
  const blocks: Json[] = [];
  for (const { type, index, content, content_block, delta } of valuesIn(recording)) {
    if (Array.isArray(content)) return content;
    const place = Number(index);
    if (type === 'content_block_start') blocks[place] = { ...(content_block as Json), json: '' };
    const block = blocks[place];
    if (type !== 'content_block_delta' || !block) continue;
    const { thinking = '', signature = block.signature, partial_json = '' } = delta as Json;
    block.json = `${block.json}${partial_json}`;
    if (block.type === 'thinking') Object.assign(block, { thinking: `${block.thinking}${thinking}`, signature });
  }
  return blocks.map(({ json, ...block }) => (json ? { ...block, input: JSON.parse(String(json)) } : block));
}

function callsOfClaude(recording: Recording): Call[] {
  if (!recording.tags.includes('ep:chat') || recording.response.status !== 200) return [];
  return blocksOfClaude(recording).flatMap(({ type, name, input }) =>
    type === 'tool_use' ? [{ name: String(name), arguments: input }] : [],
  );
}

function thoughtsOfClaude(recording: Recording): Json[] {
  return blocksOfClaude(recording).filter(({ type }) => /thinking/.test(String(type)));
}
