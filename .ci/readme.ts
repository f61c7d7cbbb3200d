/**
 * Runs the README's curl and grpcurl lines against the gateway at GATEWAY_URL and compares what they answer with what the README
 * prints below them: white space does not count, and `…` stands for anything.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const gatewayUrl = process.env.GATEWAY_URL ?? '';
const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');

/** The fenced blocks, in order. */
const blocks = [...readme.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language = '', text = '']) => ({
  language,
  text,
}));

const printed = (text: string) => text.replace(/\s+/g, '');
const pattern = (text: string) => new RegExp(`^${printed(text).split('…').map(RegExp.escape).join('.*')}$`, 's');

const found = { curl: 0, grpcurl: 0 };
for (const [index, { language, text }] of blocks.entries()) {
  const tool = /^(curl|grpcurl) /.exec(text)?.[1] as keyof typeof found | undefined;
  if (!tool || !['bash', 'sh'].includes(language)) continue;
  found[tool]++;
  const command = text.replaceAll('localhost:8080', new URL(gatewayUrl).host);
  const { status, stdout, stderr } = spawnSync('bash', ['-c', command], {
    encoding: 'utf8',
    timeout: 60_000,
    input: '',
  });
  console.log(`$ ${command}${stdout}`);
  if (status !== 0) throw new Error(`it ended with code ${status}: ${stderr}`);
  const expected = blocks[index + 1];
  if (expected?.language !== 'json') throw new Error('the README does not print what it answers');
  if (!pattern(expected.text).test(printed(stdout))) throw new Error(`the README promises\n${expected.text}`);
}
if (!found.curl || !found.grpcurl) throw new Error('the README needs a curl and a grpcurl line');
console.log(`${found.curl + found.grpcurl} commands answer as the README prints`);
