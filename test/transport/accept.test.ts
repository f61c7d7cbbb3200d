import { describe, expect, it } from 'vitest';
import { preferredType } from '../../src/transport/accept.ts';

const types = ['application/json', 'text/plain', 'application/openmetrics-text'] as const;

/** As Prometheus 2.42 and 3.5 send it. */
const prometheus =
  'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
const prometheus3 =
  'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2';

describe('the type that a client prefers', () => {
  it.each([
    [undefined, 'application/json'],
    ['', 'application/json'],
    ['*/*', 'application/json'],
    ['application/json', 'application/json'],
    ['application/json, text/plain, */*', 'application/json'],
    ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'application/json'],
    ['text/plain', 'text/plain'],
    ['TEXT/PLAIN', 'text/plain'],
    ['text/*', 'text/plain'],
    ['text/plain;q=0.5, application/json;q=0.9', 'application/json'],
    ['text/plain;q=0.9, application/json;q=0.5', 'text/plain'],
    ['*/*, application/json;q=0', 'text/plain'],
    ['application/openmetrics-text', 'application/openmetrics-text'],
    [prometheus, 'application/openmetrics-text'],
    [prometheus3, 'application/openmetrics-text'],
    ['image/png', undefined],
    ['text/plain;q=x', 'text/plain'],
    [',;,', undefined],
  ])('by %j is %s', (accept, type) => {
    expect(preferredType(accept, types)).toBe(type);
  });
});
