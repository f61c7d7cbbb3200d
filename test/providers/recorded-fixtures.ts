import { type Completion, FinishReason } from '../../gen/llmgateway/v1/completion_pb.ts';
import { GatewayError } from '../../src/errors.ts';
import type { ProviderKindName } from '../../src/providers/registry.ts';
import { corpora, type Expectation, loadOracle, type Oracle, type Recording, recordings } from '../support/replay.ts';
import type { Fixture, Told } from './provider-suite.ts';

/** A recorded answer, and the kind of provider that gave it. */
export interface RecordedFixture extends Fixture {
  readonly kind: ProviderKindName;
  /** Path before that of the dialect, in the recorded request. */
  readonly basePath: string;
}

const words: Partial<Record<FinishReason, string>> = {
  [FinishReason.STOP]: 'stop',
  [FinishReason.OTHER]: 'stop',
  [FinishReason.LENGTH]: 'length',
  [FinishReason.TOOL_CALLS]: 'tool_calls',
  [FinishReason.CONTENT_FILTER]: 'content_filter',
};

/** Every recorded answer of the named folders that is a completion, vectors or a list of models; none where there are no recordings. */
export async function recordedFixtures(folders: readonly string[]): Promise<RecordedFixture[]> {
  if (recordings.missing) return [];
  const oracle = await loadOracle();
  return oracle
    .loadCorpus(corpora)
    .filter(({ provider }) => folders.includes(provider))
    .flatMap((recording) => fixtureOf(recording, oracle.expected(recording), oracle));
}

function fixtureOf(recording: Recording, expected: Expectation, oracle: Oracle): RecordedFixture[] {
  const { kind, stream, gateway_kind } = expected;
  if (kind === 'other' || gateway_kind === null) return [];
  const { status, body, headers } = recording.response;
  const path = recording.request.url ? new URL(recording.request.url).pathname : '';
  return [
    {
      name: recording.id,
      asks: kind === 'chat' ? 'completion' : kind,
      kind: gateway_kind as ProviderKindName,
      basePath: /^(.*)\/(?:chat\/completions|embeddings|models|api\/\w+)$/.exec(path)?.[1] ?? '',
      streaming: stream,
      status,
      body,
      contentType: headers?.['content-type'],
      ...(expected.embeddings && { inputs: expected.embeddings.length }),
      difference: (told) => differenceOf(told, expected, recording, oracle),
    },
  ];
}

function differenceOf(told: Told, expected: Expectation, recording: Recording, oracle: Oracle): string | null {
  if (expected.kind === 'models') {
    const body = JSON.parse(recording.response.body);
    const list: { model?: string; id?: string }[] = body.models ?? body.data ?? body;
    const names = list.map(({ model, id }) => model ?? id);
    return oracle.same(
      names,
      told.models?.map(({ id }) => id),
    )
      ? null
      : `models: want ${names}`;
  }
  if (told.error !== undefined) {
    if (!(told.error instanceof GatewayError)) return `failed with ${told.error}`;
    const { reason, message } = told.error;
    if (!oracle.mayFail(expected)) return `failed with ${reason}: ${message}`;
    if (!oracle.classesOf(expected).includes(reason)) return `${reason}, want ${oracle.classesOf(expected)}`;
    const text = told.events.map(({ event }) => (event.case === 'textDelta' ? event.value.text : '')).join('');
    return expected.error_at === 'midstream' ? oracle.firstDiff(expected, { text }, ['text']) : null;
  }
  if (oracle.mustFail(expected)) return `succeeded, want ${oracle.classesOf(expected)}`;
  if (expected.kind === 'embeddings') return vectorDifference(told, expected, oracle);
  return told.completion ? oracle.firstDiff(expected, readingOf(told.completion)) : 'nothing was told';
}

function vectorDifference(
  { embeddings }: Told,
  { embeddings: vectors, usage }: Expectation,
  oracle: Oracle,
): string | null {
  const same = vectors?.every((vector, index) => oracle.same(vector, embeddings?.embeddings[index]?.values));
  if (!same || embeddings?.embeddings.length !== vectors?.length) return 'the vectors differ';
  const { prompt } = usage as { prompt: unknown };
  return oracle.same(prompt, embeddings?.usage?.promptTokens) ? null : `usage.prompt: want ${JSON.stringify(prompt)}`;
}

/** An answer in the words of the oracle. */
function readingOf({ choices, usage }: Completion) {
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

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return json;
  }
}
