import { execFile } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EmbeddingRequestSchema } from '../../gen/llmgateway/v1/embedding_service_pb.ts';
import { GatewayError } from '../../src/errors.ts';
import type { Provider } from '../../src/providers/provider.ts';
import { createProvider, type ProviderSettings } from '../../src/providers/registry.ts';
import { type RequestWords, randomRequest } from '../support/random-request.ts';
import { callOf, eventsOf, startUpstream, type Upstream } from './support.ts';

/** A dialect, and the type that its official SDK has for a request. */
interface Dialect extends RequestWords {
  readonly settings: Pick<ProviderSettings, 'kind'> & Partial<ProviderSettings>;
  readonly models: readonly string[];
  /** TypeScript that declares the type `Body`. */
  readonly type: string;
}

const dialects: Readonly<Record<string, Dialect>> = {
  openai: {
    settings: { kind: 'openai_compatible', baseUrl: 'http://api.openai.com/v1' },
    models: ['gpt-4.1', 'gpt-5.5', 'o3'],
    efforts: ['none', 'minimal', 'low', 'medium', 'high', 'xhigh'],
    serviceTiers: ['auto', 'flex', 'priority'],
    type: `import type { ChatCompletionCreateParams } from 'openai/resources/chat/completions';
type Body = ChatCompletionCreateParams;`,
  },
  groq: {
    settings: { kind: 'groq' },
    models: ['openai/gpt-oss-120b', 'qwen/qwen3.6-27b'],
    efforts: ['none', 'default', 'low', 'medium', 'high'],
    serviceTiers: ['auto', 'on_demand', 'flex', 'performance'],
    // Groq documents stream_options, and recordings have it; its SDK has not heard of it.
    type: `import type { ChatCompletionCreateParams } from 'groq-sdk/resources/chat/completions';
type Body = ChatCompletionCreateParams & { stream_options?: { include_usage?: boolean } };`,
  },
  gemini: {
    settings: { kind: 'gemini' },
    models: ['gemini-2.5-flash', 'gemini-2.5-pro', 'gemini-3.1-pro-preview', 'gemini-3.5-flash'],
    efforts: ['none', 'minimal', 'low', 'medium', 'high', 'xhigh'],
    serviceTiers: ['flex', 'standard', 'priority'],
    // The SDK takes other parameters than the wire, made of the same pieces; on the wire enums are words.
    type: `import type { Content, GenerationConfig, ServiceTier, Tool, ToolConfig } from '@google/genai';
type Wire<T> = unknown extends T ? T : T extends string ? \`\${T}\` : T extends object ? { [K in keyof T]: Wire<T[K]> } : T;
interface Request { contents: Content[]; systemInstruction?: Content; tools?: Tool[]; toolConfig?: ToolConfig;
  generationConfig?: GenerationConfig; serviceTier?: ServiceTier }
type Body = Wire<Request>;`,
  },
  anthropic: {
    settings: { kind: 'anthropic' },
    models: ['claude-haiku-4-5', 'claude-sonnet-4-5', 'claude-opus-4-6', 'claude-sonnet-5', 'claude-opus-5'],
    efforts: ['none', 'minimal', 'low', 'medium', 'high', 'xhigh'],
    serviceTiers: ['auto', 'standard_only'],
    // The SDK has given these three up, since the newest models have; earlier ones still take them.
    type: `import type { MessageCreateParams } from '@anthropic-ai/sdk/resources/messages';
type Body = MessageCreateParams & { temperature?: number; top_p?: number; top_k?: number };`,
  },
  ollama: {
    settings: { kind: 'ollama' },
    models: ['llama3.2', 'gpt-oss:20b'],
    efforts: ['none', 'low', 'medium', 'high'],
    serviceTiers: ['auto'],
    // What the server takes beyond it: ids of tool calls, any JSON schema for a tool, and that no prompt shall be cut.
    type: `import type { ChatRequest, Message, Tool, ToolCall } from 'ollama';
type KnownMessage = Omit<Message, 'tool_calls'> & { tool_call_id?: string; tool_calls?: (ToolCall & { id?: string })[] };
type KnownTool = Omit<Tool, 'function'> & { function: Omit<Tool['function'], 'parameters'> & { parameters?: object } };
type Body = Omit<ChatRequest, 'messages' | 'tools'> & { messages: KnownMessage[]; tools?: KnownTool[]; truncate?: boolean };`,
  },
};

const runs = Number(process.env.SDK_TYPES_RUNS ?? 150);
const root = new URL('../..', import.meta.url).pathname;
/** Below node_modules, since the SDKs are found from there. */
const folder = join(root, 'node_modules/.cache', `sdk-types-${process.pid}`);

function providerOf(settings: Dialect['settings'], upstream: Upstream): Provider {
  return createProvider({
    name: 'upstream',
    apiKeys: ['k'],
    dropUnsupported: 'drop',
    baseUrl: upstream.url,
    // What is meant for a real host comes to the upstream all the same.
    proxies: { httpProxy: upstream.url, noProxy: [] },
    ...settings,
  });
}

/** Every body that a dialect's adapter makes of random requests, as it arrives. */
async function bodiesOf(
  { settings, models, ...words }: Dialect,
  upstream: Upstream,
  numRuns = runs,
): Promise<string[]> {
  const provider = providerOf(settings, upstream);
  upstream.requests.length = 0;
  const requests = fc.sample(randomRequest(words), { numRuns, seed: 20_26 });
  for (const [index, request] of requests.entries()) {
    const model = models[index % models.length] ?? '';
    await ask(provider, request, model, index % 2 === 0);
  }
  await provider.close();
  return upstream.requests.map(({ body }) => body);
}

async function ask(
  provider: Provider,
  request: Parameters<Provider['complete']>[0],
  model: string,
  streaming: boolean,
): Promise<void> {
  const { error } = await eventsOf(provider.complete(request, callOf({ model, streaming })));
  expect(error).toBeInstanceOf(GatewayError);
  // Either the upstream's refusal, or of what can be written in no way.
  expect((error as GatewayError).reason).toMatch(/^(provider_unavailable|invalid_request)$/);
}

/** What the compiler has against the bodies, each with the place in the body that it is about. */
async function complaintsAbout(type: string, bodies: readonly string[]): Promise<string[]> {
  // JavaScript ends a line at these, JSON does not.
  const literals = bodies.map((body) => body.replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029'));
  const lines = [...type.split('\n'), ...literals.map((body, index) => `export const body${index}: Body = ${body};`)];
  const options = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    target: 'es2024',
    lib: ['es2024', 'dom'],
    module: 'nodenext',
    types: [],
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['bodies.ts'] }));
  writeFileSync(join(folder, 'bodies.ts'), `${lines.join('\n')}\n`);
  const compiled = promisify(execFile)(join(root, 'node_modules/.bin/tsc'), ['-p', folder, '--pretty', 'false']);
  const { stdout } = await compiled.catch((failed: { stdout: string }) => failed);
  return stdout
    .split(/\n(?=\S)/)
    .filter((complaint) => complaint.trim() !== '')
    .map((complaint) => {
      const [, line, column] = /\((\d+),(\d+)\)/.exec(complaint) ?? [];
      const at = Number(column);
      return `${complaint.trim()}\n  at ${lines[Number(line) - 1]?.slice(Math.max(0, at - 200), at + 200)}`;
    });
}

describe('every request body that an adapter can build', () => {
  let upstream: Upstream;
  beforeAll(async () => {
    upstream = await startUpstream((_, response) => response.writeHead(503).end());
  });
  afterAll(async () => {
    await upstream[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it.each(Object.entries(dialects))(
    'is one by the types of the official SDK: %s',
    async (_, dialect) => {
      const bodies = await bodiesOf(dialect, upstream);
      expect(bodies.length).toBeGreaterThan(runs / 2);
      expect(await complaintsAbout(dialect.type, bodies)).toEqual([]);
    },
    60_000,
  );

  it.each([
    ['openai', "import type { EmbeddingCreateParams as Body } from 'openai/resources/embeddings';"],
    ['ollama', "import type { EmbedRequest as Body } from 'ollama';"],
  ])('is one by the types of the official SDK, for vectors too: %s', async (name, type) => {
    const { settings } = dialects[name] as Dialect;
    const provider = providerOf(settings, upstream);
    upstream.requests.length = 0;
    for (const [inputs, dimensions] of [[['a']], [['a', 'b'], 256]] as const) {
      const texts = inputs.map((value) => ({ kind: { case: 'text' as const, value } }));
      const request = create(EmbeddingRequestSchema, { inputs: texts, ...(dimensions && { dimensions }) });
      await expect(Array.fromAsync(provider.embed(request, callOf()))).rejects.toThrow(GatewayError);
    }
    await provider.close();

    const bodies = upstream.requests.map(({ body }) => body);
    expect(bodies.length).toBe(2);
    expect(await complaintsAbout(type, bodies)).toEqual([]);
  });

  it.each(Object.entries(dialects))('is held to be none with a key too many: %s', async (_, dialect) => {
    const [body = ''] = await bodiesOf(dialect, upstream, 1);
    const outer = { ...JSON.parse(body), nobody_knows: 1 };
    const inner = JSON.parse(body);
    (inner.messages ?? inner.contents)[0].nobody_knows = 1;

    expect(await complaintsAbout(dialect.type, [body])).toEqual([]);
    expect(
      (
        await complaintsAbout(
          dialect.type,
          [outer, inner].map((wrong) => JSON.stringify(wrong)),
        )
      ).length,
    ).toBe(2);
  });
});
