import type { ConfigFile } from '../support/gateway.ts';
import { corpora, type Expectation, loadOracle, type Oracle, type Recording } from '../support/replay.ts';

/** How the replay server cuts the bytes of an answer. */
export type Split = 'event' | 'random' | 'byte';

/** One recording and what it must come to. */
export interface Recorded {
  readonly recording: Recording;
  readonly expectation: Expectation;
}

/** Recordings of the providers that the gateway can speak to. */
export async function loadRecorded(kind: Expectation['kind']): Promise<{ oracle: Oracle; recorded: Recorded[] }> {
  const oracle = await loadOracle();
  const recorded = oracle
    .loadCorpus(corpora)
    .filter(({ provider }) => ['gemini', 'groq', 'openai', 'openai-compat', 'github'].includes(provider))
    .map((recording) => ({ recording, expectation: oracle.expected(recording) }))
    .filter(({ expectation }) => expectation.kind === kind);
  return { oracle, recorded };
}

/** Where the kinds that speak a protocol of their own have it. */
const ownPaths: Readonly<Record<string, string>> = { gemini: '/v1beta' };

/** Whether a recording is of a provider that follows OpenAI. */
export function followsOpenAI({ expectation }: Recorded): boolean {
  return !(String(expectation.gateway_kind) in ownPaths);
}

/** What stands in a recorded URL between the host and what the adapter appends. */
function basePath({ request }: Recording, gatewayKind: string): string {
  const path = request.url ? new URL(request.url).pathname : '';
  const usual: Record<string, string> = { groq: '/openai/v1', github_models: '/inference' };
  const recorded = /^(.*)\/(chat\/completions|embeddings|models)$/.exec(path)?.[1];
  return ownPaths[gatewayKind] ?? recorded ?? usual[gatewayKind] ?? '/v1';
}

/** Recorded after GitHub Models was retired: one such answer disables the provider, so that it cannot be asked at every door. */
export const retired = 'syn-github-410-retired';

export function modelOf({ expectation, recording }: Recorded): string {
  return expectation.model || String(recording.request.body?.model ?? 'replay-model');
}

/** The name of the provider that answers with a recording, cut in one way. */
export function providerName({ recording }: Recorded, split: Split = 'event'): string {
  return `${recording.id}.${split}`;
}

/** A provider that answers every call with one recording. */
export function providerFor(recorded: Recorded, replayUrl: string, split: Split = 'event'): ConfigFile {
  const { recording, expectation } = recorded;
  const kind = expectation.gateway_kind ?? 'openai_compatible';
  return {
    name: providerName(recorded, split),
    kind,
    base_url: `${replayUrl}/o/split=${split},seed=7/r/${recording.id}${basePath(recording, kind)}`,
    api_key: 'replay-key',
    default_model: modelOf(recorded),
  };
}

/** Names of the tools that the model of a recording calls. */
export function toolsOf({ expectation }: Recorded): string[] {
  const calls = Array.isArray(expectation.tool_calls) ? expectation.tool_calls : [];
  return [...new Set(calls.map(({ name }: { name: string }) => name))];
}
