import { execFile, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';

const root = new URL('..', import.meta.url).pathname;
const page = readFileSync(join(root, 'docs/adding-a-provider.md'), 'utf8');

/** The fenced blocks of the page: what they are, the file that they are about, and what they hold. */
const blocks = [...page.matchAll(/^```(\w+) ?(\S*)\n([\s\S]*?)^```$/gm)].map(
  ([, language = '', file = '', text = '']) => ({
    language,
    file,
    text,
  }),
);

/** What the gateway consists of, its tests of adapters, and what their tools need. */
const copied = [
  'src',
  'gen',
  'proto',
  'test/providers',
  'test/support',
  'package.json',
  'tsconfig.json',
  'vitest.config.ts',
  'biome.json',
  'buf.yaml',
  'buf.gen.yaml',
  '.gitignore',
];

let copy = '';
beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), 'llm-gateway-provider-'));
  for (const path of copied) cpSync(join(root, path), join(copy, path), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
});
afterAll(() => rmSync(copy, { recursive: true }));

const environment = {
  ...process.env,
  PATH: `${join(root, 'node_modules/.bin')}${delimiter}${process.env.PATH}`,
  FUZZ_RUNS: '50',
};

/** Do what a block says: write its file, put its lines in, or run its commands. */
async function follow({ language, file, text }: (typeof blocks)[number]): Promise<void> {
  if (language === 'diff') {
    const path = join(copy, file);
    writeFileSync(path, text.split('@@\n').reduce(putIn, readFileSync(path, 'utf8')));
  } else if (file !== '') writeFileSync(join(copy, file), text);
  else if (language === 'bash' && !text.startsWith('curl')) {
    await promisify(execFile)('bash', ['-e', '-c', text], { cwd: copy, env: environment }).catch(
      ({ stdout, stderr }) => {
        throw new Error(`${text}${stdout}${stderr}`);
      },
    );
  }
}

/** Put the lines that a piece of a diff adds behind the line that it shows before them, which has to be there once. */
function putIn(source: string, piece: string): string {
  const [shown = '', ...added] = piece.trimEnd().split('\n');
  const before = `${shown.slice(1)}\n`;
  if (source.split(before).length !== 2) throw new Error(`the line is not there once: ${shown}`);
  if (!added.every((line) => line.startsWith('+'))) throw new Error(`not only added lines: ${piece}`);
  return source.replace(before, () => before + added.map((line) => `${line.slice(1)}\n`).join(''));
}

/** An upstream that speaks as the page says. */
async function startParrot() {
  const server = createServer(async (request, response) => {
    if (request.url === '/parrots') return response.end('{"parrots":["grey","ara"]}');
    let body = '';
    for await (const bytes of request) body += bytes;
    const { say } = JSON.parse(body);
    const key = request.headers['x-cracker'];
    return response.end(JSON.stringify({ word: `${say.join(' ')} (${key})`, end: 'done', heard: 3, said: 4 }));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => server.close() };
}

/** The copy of the gateway, run on a free port with the page's configuration. */
function startCopy(parrotUrl: string): Promise<{ url: string; stop: () => void }> {
  const settings = {
    PORT: '0',
    HOST: '127.0.0.1',
    ENABLE_OLLAMA: 'false',
    PARROT_URL: parrotUrl,
    PARROT_KEY: 'cracker',
  };
  const child = spawn(process.execPath, ['src/main.ts', '--config', 'gateway.yaml'], {
    cwd: copy,
    env: { PATH: process.env.PATH, ...settings },
  });
  return new Promise((started, failed) => {
    let printed = '';
    const read = (data: Buffer) => {
      printed += data;
      const port = /"port":(\d+),?.*"msg":"listening"|"msg":"listening".*"port":(\d+)/.exec(printed);
      if (port) started({ url: `http://127.0.0.1:${port[1] ?? port[2]}`, stop: () => child.kill('SIGKILL') });
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('exit', () => failed(new Error(printed)));
  });
}

it('adding a provider takes what its page says, word for word', { timeout: 120_000 }, async () => {
  for (const block of blocks) await follow(block);

  const parrot = await startParrot();
  const gateway = await startCopy(parrot.url);
  const curl = blocks.find(({ text }) => text.startsWith('curl'))?.text ?? '';
  const path = /localhost:8080(\S+)/.exec(curl)?.[1] ?? '';
  const answer = await fetch(gateway.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: /-d '(.*?)'/.exec(curl)?.[1] ?? '',
  });
  const { choices, usage } = await answer.json();
  gateway.stop();
  parrot.close();

  expect(choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: 'Pretty Polly! (cracker)' } });
  expect(usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 });
  expect(answer.headers.get('x-selected-provider')).toBe('polly');
});
