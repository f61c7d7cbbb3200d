import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../src/config.ts';
import { startGateway } from './support/gateway.ts';

const root = new URL('..', import.meta.url).pathname;
const pages = globSync(['*.md', 'docs/**/*.md', 'examples/**/*.md'], { cwd: root }).sort();

function textOf(page: string): string {
  return readFileSync(join(root, page), 'utf8');
}

/** The fenced blocks of a page in one language. */
function blocks(page: string, language: string): string[] {
  return [...textOf(page).matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter((match) => match[1] === language)
    .map((match) => match[2] ?? '');
}

describe('the pages', () => {
  it('are there', () => {
    expect(pages).toEqual(expect.arrayContaining(['README.md', 'ARCHITECTURE.md', 'docs/configuration.md']));
  });

  it.each(pages)('%s links to nothing that is not there', (page) => {
    const links = [...textOf(page).matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map((match) => match[1] ?? '');
    const missing = links.filter((link) => !existsSync(join(root, dirname(page), link)));
    expect(missing).toEqual([]);
  });

  it('answer by the README’s commands what the README prints', async () => {
    const { url, close } = await startGateway({});
    const [, curl, grpcurl] = blocks('README.md', 'bash').map((block) => block.replaceAll(/\\\n */g, ''));
    const printed = blocks('README.md', 'json').map((block) => /"(?:content|outputText)": "(.*)"/.exec(block)?.[1]);
    const paths = [
      /^curl http:\/\/localhost:8080(\S+)/.exec(curl ?? '')?.[1],
      `/${/localhost:8080 (\S+)/.exec(grpcurl ?? '')?.[1]}`,
    ];
    const said: string[] = [];
    for (const [index, command] of [curl, grpcurl].entries()) {
      const body = /-d '(.*?)'/.exec(command ?? '')?.[1] ?? '';
      const headers = { 'content-type': 'application/json' };
      const answer = await (await fetch(`${url}${paths[index]}`, { method: 'POST', headers, body })).json();
      said.push(answer.outputText ?? answer.choices[0].message.content);
    }
    await close();
    expect(said).toEqual(printed);
  });

  const configurations = pages.flatMap((page) =>
    blocks(page, 'yaml').map((block, at) => [`${page} ${at + 1}`, block] as const),
  );

  it('show configurations', () => expect(configurations.length).toBeGreaterThan(1));

  it.each(configurations)('show a configuration that the gateway takes: %s', (_, block) => {
    const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-docs-'));
    const file = join(folder, 'gateway.yaml');
    writeFileSync(file, block);
    const variables = [...block.matchAll(/\$\{(\w+)\}/g)].map((match) => match[1] ?? '');
    const environment = Object.fromEntries(variables.map((name) => [name, /SHA256/.test(name) ? '0'.repeat(64) : 'x']));
    const { config, notices } = loadConfig({ file, environment });
    rmSync(folder, { recursive: true });
    expect(config.providers.length).toBeGreaterThan(0);
    expect(notices).toEqual([]);
  });

  it('name every variable of the environment that the gateway reads', () => {
    const sources = globSync('src/**/*.ts', { cwd: root }).map((file) =>
      readFileSync(join(root, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\//g, ''),
    );
    const read = new Set(
      sources.join('\n').match(/\b(GATEWAY|ENABLE|GEMINI|GROQ|GITHUB|OLLAMA|CORS|DEFAULT_RATE|REDIS)_[A-Z_]+\b/g),
    );
    const documented = textOf('docs/configuration.md');
    expect([...read].filter((name) => !documented.includes(name))).toEqual([]);
  });
});
