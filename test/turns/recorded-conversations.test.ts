import type { ChatCompletionMessageParam as Message } from 'openai/resources/chat/completions';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { corpora, loadOracle, type Oracle, type Recording, recordings } from '../support/replay.ts';
import { type Dialect, dialects, type Json, readConversation } from './dialects.ts';
import {
  ask,
  callsIn,
  expectAlternation,
  type Kind,
  kinds,
  providerOf,
  type Stage,
  startStage,
  toolsNamed,
} from './stage.ts';

// Conversations that were recorded at their second or a later turn are held again through the gateway. What the assistant had
// said before comes from the upstream, in its own dialect, and goes through OpenAI's SDK and back: what the upstream is asked in
// the end has to be what the recorded client had asked it.

interface Held {
  readonly recording: Recording;
  readonly kind: Kind;
  readonly body: Json;
  readonly turns: readonly Json[];
}

const oracle = recordings.missing ? (undefined as unknown as Oracle) : await loadOracle();
const all = recordings.missing ? [] : oracle.loadCorpus(corpora);
const conversations = all.flatMap((recording): Held[] => {
  const { tags, request, response, provider } = recording;
  const body = whole(request.body) as Json | undefined;
  if (!body || !tags.includes('ep:chat') || !tags.includes('req:tool-result') || response.status !== 200) return [];
  const kind = kinds.find((name) => name === (oracle.expected(recording).gateway_kind ?? provider));
  if (!kind) return [];
  const turns = dialects[kind].turnsOf(body);
  const canBeHeld = turns.every((turn) => isAssistant(turn) || messagesOf(kind, turn, []) !== undefined);
  return canBeHeld ? [{ recording, kind, body, turns }] : [];
});

describe.skipIf(recordings.missing)('recorded conversations', () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await startStage();
  });
  afterAll(() => stage?.[Symbol.asyncDispose]());

  it('are there in every dialect that has some', () => {
    const counts = Object.groupBy(conversations, ({ kind }) => kind);
    const { gemini, anthropic, groq, openai_compatible } = counts;
    expect([gemini, anthropic, groq, openai_compatible].map((some) => some?.length)).toEqual([6, 4, 4, 14]);
  });

  describe.each(conversations.map((held) => [held.recording.id, held] as const))(
    '%s',
    (_, { recording, kind, body, turns }) => {
      it.each([false, true])('is asked as it was recorded (turns before it streamed: %s)', async (streaming) => {
        const dialect: Dialect = dialects[kind];
        const before = readConversation(dialect, body);
        const tools = toolsNamed(before.flatMap(({ calls }) => calls.map(({ name }) => String(name))));
        const question = { model: `${providerOf(kind)}/${recording.model || 'model-1'}`, tools };

        const messages: Message[] = [];
        for (const turn of turns) {
          if (!isAssistant(turn)) {
            messages.push(...(messagesOf(kind, turn, messages) ?? []));
            continue;
          }
          stage.play(dialect.write(turn, streaming));
          messages.push(await ask(stage.client, { ...question, messages: [...messages] }, streaming));
        }
        stage.sent();
        stage.play(recording.response.body);
        const said = await ask(stage.client, { ...question, messages }, recording.tags.includes('stream'));

        const [sent = {}] = stage.sent();
        expect(readConversation(dialect, sent)).toEqual(before);
        expectAlternation(kind, sent);
        if (kind === 'anthropic') expect(said.content ?? '').toBe(textOfClaude(recording));
        else
          expect(
            oracle.firstDiff(oracle.expected(recording), { text: String(said.content ?? '') }, ['text']),
          ).toBeNull();
      });
    },
  );
});

function isAssistant({ role }: Json): boolean {
  return role === 'assistant' || role === 'model';
}

/** What a client says in a turn, if OpenAI's API has words for it. Results go to the last calls, in their order or by id. */
function messagesOf(kind: Kind, turn: Json, before: readonly Message[]): Message[] | undefined {
  if (kind !== 'gemini' && kind !== 'anthropic') return [turn as unknown as Message];
  const ids = callsIn(before.at(-1) ?? { role: 'user', content: '' }).map(({ id }) => id);
  const pieces = (kind === 'gemini' ? turn.parts : turn.content) as Json[] | string;
  if (turn.role === 'system') {
    const isText = typeof pieces === 'string' || pieces.every(({ text }) => text !== undefined);
    return isText ? [{ role: 'system', content: textOf(pieces) }] : undefined;
  }
  if (typeof pieces === 'string') return [{ role: 'user', content: pieces }];
  const messages = pieces.map((piece): Message | undefined => {
    if (typeof piece.text === 'string') return { role: 'user', content: piece.text };
    if (piece.inlineData) return { role: 'user', content: [filePart(piece.inlineData as Json)] };
    if (piece.functionResponse) {
      const { response } = piece.functionResponse as { response: Json };
      const isPlain = typeof response.result === 'string' && Object.keys(response).length === 1;
      return toolResult(ids.shift(), isPlain ? response.result : JSON.stringify(response));
    }
    if (piece.type !== 'tool_result') return undefined;
    const parts = (piece.content as Json[]).map(({ text, source }) =>
      source ? imagePart(source as Json) : { type: 'text', text },
    );
    return toolResult(ids.shift(), parts);
  });
  return messages.some((message) => message === undefined) ? undefined : (messages as Message[]);
}

function toolResult(id: string | undefined, content: unknown): Message {
  return { role: 'tool', tool_call_id: id ?? '', content: content as string };
}

function imagePart({ media_type, data }: Json): Json {
  return { type: 'image_url', image_url: { url: `data:${media_type};base64,${data}` } };
}

function filePart({ mimeType, data }: Json) {
  const base64 = Buffer.from(String(data), 'base64').toString('base64');
  return { type: 'file' as const, file: { filename: 'a-file', file_data: `data:${mimeType};base64,${base64}` } };
}

function textOf(content: unknown): string {
  return typeof content === 'string' ? content : (content as Json[]).map(({ text }) => text).join('');
}

/** What Claude said in a recording, which the oracle does not read. */
function textOfClaude({ response: { body } }: Recording): string {
  if (!body.startsWith('event:')) return textOf(JSON.parse(body).content);
  const events = body.split('\n').flatMap((line) => (line.startsWith('data:') ? [JSON.parse(line.slice(5))] : []));
  return events.map(({ delta }) => delta?.text ?? '').join('');
}

/** A recorded body; what is left of bytes that were cut out is made valid base64. */
function whole(value: unknown): unknown {
  if (typeof value === 'string') {
    const [, start = '', base64] = /^(data:.*?;base64,)?([\w+/-]*)\.\.\.\[trimmed \d+ chars\]$/.exec(value) ?? [];
    return base64 === undefined ? value : start + base64.slice(0, base64.length - (base64.length % 4));
  }
  if (Array.isArray(value)) return value.map(whole);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, whole(item)]));
}
