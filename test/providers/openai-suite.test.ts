import { providerSuite } from './provider-suite.ts';
import { recordedFixtures } from './recorded-fixtures.ts';
import { providerAt } from './support.ts';

const recorded = await recordedFixtures(['groq', 'openai', 'openai-compat', 'github', 'ollama', 'gemini']);
const native = ['ollama', 'gemini'];

providerSuite('what follows OpenAI', {
  fixtures: recorded.filter(({ kind }) => !native.includes(kind)),
  providerAt: (baseUrl, { kind, basePath }) => providerAt(baseUrl + basePath, { kind }),
  separator: /\r?\n\r?\n/,
  garbage: 'data: {"choices":[{"delta":{"content":"bro\n\n',
  failure: 'data: {"error":{"message":"overloaded","type":"server_error","code":503}}\n\n',
  variants: {
    'lines end with CRLF': (body) => body.replaceAll(/\r?\n/g, '\r\n'),
    'comments between': (body) => body.replaceAll(/(\r?\n){2}/g, '$&: keepalive\n\n'),
    'no [DONE]': (body) => body.replace(/data: ?\[DONE\]\s*$/, ''),
  },
});
