import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** One recorded exchange with a provider. */
export interface Recording {
  readonly id: string;
  readonly provider: string;
  readonly tags: readonly string[];
  readonly model?: string;
  readonly request: { readonly method: string; readonly url?: string; readonly body?: Record<string, unknown> };
  readonly response: { readonly status: number; readonly headers?: Record<string, string>; readonly body: string };
}

/** What an answer comes to, in the words of the oracle that comes with the recordings. */
export interface Reading {
  text: string;
  reasoning: string;
  tool_calls: { name: string; arguments: unknown }[];
  finish_reason: string | null | undefined;
  usage:
    | { prompt: number; completion: number; total: number; cached: number | undefined; reasoning: number | undefined }
    | undefined;
}

/** What a recording must come to; a value may also be the oracle's ANY or a choice of values. */
export interface Expectation {
  readonly id: string;
  readonly kind: 'chat' | 'embeddings' | 'models' | 'other';
  readonly gateway_kind: string | null;
  readonly stream: boolean;
  readonly model: string | null;
  readonly error_class: unknown;
  readonly error_at: 'start' | 'midstream' | null;
  readonly text?: unknown;
  readonly tool_calls?: unknown;
  readonly usage?: unknown;
  readonly embeddings?: unknown[];
}

/** The oracle: reads recordings without a line of our code. */
export interface Oracle {
  readonly ANY: unknown;
  readonly ERROR_TABLE: Record<string, { http: number; type: string; code: unknown; connect: string }>;
  loadCorpus(folders: readonly string[]): Recording[];
  expected(recording: Recording): Expectation;
  firstDiff(expectation: Expectation, reading: Partial<Reading>, fields?: readonly string[]): string | null;
  same(want: unknown, got: unknown): boolean;
  mayFail(expectation: Expectation): boolean;
  mustFail(expectation: Expectation): boolean;
  classesOf(expectation: Expectation): string[];
}

const folder = resolve(
  process.env.REPLAY_CORPUS ?? join(new URL('../..', import.meta.url).pathname, '../shared/replay'),
);

/**
 * Where the recordings are: the environment's REPLAY_CORPUS, else `../shared/replay` beside the repository. They are not part
 * of it. Without them the tests that need them are skipped with a line, but fail where CI is set.
 */
export const recordings: { readonly folder: string; readonly missing: boolean } = {
  folder,
  missing: !existsSync(join(folder, 'replay-upstream.mjs')),
};

if (recordings.missing) {
  const line = `no recordings found at REPLAY_CORPUS (${process.env.REPLAY_CORPUS ?? '../shared/replay'})`;
  if (process.env.CI === 'true') throw new Error(line);
  console.warn(`${line}: the tests that replay them are skipped`);
}

export async function loadOracle(): Promise<Oracle> {
  return import(pathToFileURL(join(folder, 'check/replay/oracle.mjs')).href);
}

export const corpora: readonly string[] = [join(folder, 'corpus-open'), join(folder, 'corpus-synthetic')];

/** The replay server at work. */
export interface ReplayServer {
  readonly url: string;
  /** What was asked of one exchange, oldest first. */
  requests(id: string): Promise<{ method: string; path: string; headers: Record<string, string>; bodyJson: unknown }[]>;
  close(): Promise<void>;
}

/** Start the replay server, which answers `/o/split=byte/r/<id>/...` with a recording and makes faults to order. */
export async function startReplay(): Promise<ReplayServer> {
  const process_ = spawn(
    process.execPath,
    [join(folder, 'replay-upstream.mjs'), ...corpora.flatMap((corpus) => ['--corpus', corpus])],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const url = await listening(process_);
  return {
    url,
    async requests(id) {
      const response = await fetch(`${url}/__requests?id=${encodeURIComponent(id)}`);
      return (await response.json()) as never;
    },
    close: () =>
      new Promise((resolve) => {
        process_.once('exit', () => resolve());
        process_.kill('SIGTERM');
      }),
  };
}

function listening(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = '';
    child.stdout?.on('data', (data) => {
      output += data;
      const url = /"listening":"([^"]+)"/.exec(output)?.[1];
      if (url) resolve(url);
    });
    child.once('exit', (code) => reject(new Error(`the replay server ended with code ${code}`)));
  });
}
