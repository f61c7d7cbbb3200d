import { providerSuite } from './provider-suite.ts';
import { recordedFixtures } from './recorded-fixtures.ts';
import { providerAt } from './support.ts';

providerSuite('Ollama', {
  fixtures: (await recordedFixtures(['ollama'])).filter(({ kind }) => kind === 'ollama'),
  providerAt: (baseUrl) => providerAt(baseUrl, { kind: 'ollama', apiKeys: [] }),
  separator: /\n/,
  garbage: '{"model":"x","message":{"role":"assist\n',
  failure: '{"error":"an error was encountered while running the model"}\n',
  variants: {
    'lines end with CRLF': (body) => body.replaceAll('\n', '\r\n'),
    'empty lines between': (body) => body.replaceAll('\n', '\n\n'),
    'no end of the last line': (body) => body.trimEnd(),
  },
});
