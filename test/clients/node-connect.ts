/**
 * connect-es's own transports against the gateway, by every protocol: the run of the example is read, then Connect's GET.
 * GATEWAY_URL says where the gateway is.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';

const gatewayUrl = process.env.GATEWAY_URL ?? '';

for (const protocol of ['grpc', 'grpc-web', 'connect']) {
  const program = new URL('../../examples/node/connect-client.ts', import.meta.url).pathname;
  const printed = execFileSync(process.execPath, [program, gatewayUrl, protocol], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.match(printed, /^demo \(\S+\): \S/, printed);
  assert.match(printed, /\n[1-9]\d* tokens\n/, printed);
  assert.match(printed, /\nNotFound: .*no-such-model.* \(model_not_found, request \S+\)\n$/, printed);
  console.log(`${protocol}: completes, streams, and tells a typed error`);
}

const query = new URLSearchParams({ connect: 'v1', encoding: 'json', message: '{}' });
const response = await fetch(`${gatewayUrl}/llmgateway.v1.ProviderService/ListProviders?${query}`, {
  headers: { authorization: `Bearer ${process.env.GATEWAY_API_KEY}` },
});
const answer = (await response.json()) as { providers: { name: string }[] };
assert.deepEqual(
  answer.providers
    .map(({ name }) => name)
    .filter((name) => name !== 'ollama')
    .sort(),
  ['dead', 'demo'],
);
console.log('connect: reads without side effects answer to GET');
