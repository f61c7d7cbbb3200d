/**
 * Talks to the gateway with OpenAI's own Node SDK: only the base URL is different.
 *
 *     npm install openai && node examples/node/openai-client.ts http://localhost:8080
 *
 * GATEWAY_API_KEY holds the key, where the gateway wants one.
 */
import OpenAI, { type ClientOptions, NotFoundError } from 'openai';

/** A client of the gateway. The SDK insists on a key even where the gateway does not. */
export function connect(gatewayUrl: string, options: ClientOptions = {}): OpenAI {
  return new OpenAI({ baseURL: `${gatewayUrl}/v1`, apiKey: process.env.GATEWAY_API_KEY ?? 'none', ...options });
}

async function main(gatewayUrl: string): Promise<void> {
  const client = connect(gatewayUrl);
  const messages = [{ role: 'user' as const, content: 'Hello!' }];

  const answer = await client.chat.completions.create({ model: 'auto', messages });
  console.log(`${answer.model}: ${answer.choices[0]?.message.content}`);

  const stream = client.chat.completions.stream({
    model: 'auto',
    messages,
    stream_options: { include_usage: true },
  });
  stream.on('content', (delta) => process.stdout.write(delta));
  console.log(`\n${(await stream.totalUsage()).total_tokens} tokens`);

  try {
    await client.chat.completions.create({ model: 'no-such-model', messages });
  } catch (error) {
    if (!(error instanceof NotFoundError)) throw error;
    console.log(`${error.status} ${error.code}: ${error.message} (request ${error.requestID})`);
  }
}

if (import.meta.main) await main(process.argv[2] ?? 'http://localhost:8080');
