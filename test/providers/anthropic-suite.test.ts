import { anthropicFixtures } from './anthropic-fixtures.ts';
import { providerSuite } from './provider-suite.ts';
import { providerAt } from './support.ts';

providerSuite('Anthropic', {
  fixtures: await anthropicFixtures(),
  providerAt: (baseUrl) => providerAt(`${baseUrl}/v1`, { kind: 'anthropic' }),
  separator: /\r?\n\r?\n/,
  garbage: 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"text":"bro\n\n',
  failure: 'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
  variants: {
    'lines end with CRLF': (body) => body.replaceAll(/\r?\n/g, '\r\n'),
    'comments between': (body) => body.replaceAll('\n\n', '\n\n: keep-alive\n\n'),
    'no types of events': (body) => body.replaceAll(/^event: .*\n/gm, ''),
    'no last event': (body) => body.replace(/event: message_stop[\s\S]*$/, ''),
    'a start of its own for every block': (body) =>
      body.replaceAll(/(?=event: content_block_start)/g, /event: message_start[\s\S]*?\n\n/.exec(body)?.[0] ?? ''),
  },
});
