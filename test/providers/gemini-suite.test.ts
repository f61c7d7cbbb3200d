import { type Fixture, providerSuite } from './provider-suite.ts';
import { recordedFixtures } from './recorded-fixtures.ts';
import { providerAt } from './support.ts';

/** What no recording has: media, log probabilities, sources of words of several bytes, and arguments in pieces of every kind. */
const rich = [
  {
    content: {
      parts: [
        { text: 'Grüße 😀 ', thought: true },
        { text: 'aus Zürich', thoughtSignature: 'c2ln' },
      ],
    },
  },
  { content: { parts: [{ inlineData: { mimeType: 'audio/L16', data: 'AQI=' } }] } },
  { content: { parts: [{ functionCall: { name: 'f', args: { a: [1] }, willContinue: true } }] } },
  {
    content: {
      parts: [
        {
          functionCall: {
            partialArgs: [
              { jsonPath: '$.b.c[0].d', stringValue: 'x', willContinue: true },
              { jsonPath: '$.a[1]', numberValue: 2 },
            ],
          },
        },
      ],
    },
  },
  {
    finishReason: 'STOP',
    logprobsResult: {
      chosenCandidates: [{ token: 'a', logProbability: -1 }],
      topCandidates: [{ candidates: [{ token: 'a' }] }],
    },
    groundingMetadata: {
      groundingChunks: [{ web: { uri: 'https://a', title: 'A' } }],
      groundingSupports: [{ segment: { startIndex: 4, endIndex: 11, text: 'Zürich' }, groundingChunkIndices: [0] }],
    },
  },
].map((candidate) => ({ candidates: [candidate], usageMetadata: { promptTokenCount: 1, candidatesTokenCount: 2 } }));

const handmade: readonly Fixture[] = [
  {
    name: 'a stream of everything',
    streaming: true,
    status: 200,
    body: rich.map((chunk) => `data: ${JSON.stringify(chunk)}\r\n\r\n`).join(''),
  },
  { name: 'a list of everything', streaming: false, status: 200, body: JSON.stringify(rich) },
];

const recorded = (await recordedFixtures(['gemini'])).filter(({ kind }) => kind === 'gemini');

providerSuite<Fixture>('Gemini', {
  fixtures: [...recorded, ...handmade],
  providerAt: (baseUrl) => providerAt(`${baseUrl}/v1beta`, { kind: 'gemini' }),
  separator: /\r?\n\r?\n/,
  garbage: 'data: {"candidates":[{"content":{"parts":[{"text":"bro\r\n\r\n',
  failure: 'data: {"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}\r\n\r\n',
  variants: {
    'lines end with LF': (body) => body.replaceAll('\r\n', '\n'),
    'comments between': (body) => body.replaceAll(/(\r?\n){2}/g, '$&: keepalive\n\n'),
    'no end of the last line': (body) => body.trimEnd(),
  },
});
