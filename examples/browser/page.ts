/**
 * A page that calls the gateway from another origin, by Connect, gRPC-Web or OpenAI's REST.
 *
 *     npx esbuild examples/browser/page.ts --bundle --format=esm --servedir=examples/browser --outdir=examples/browser
 */
import { type Client, Code, ConnectError, createClient, type Interceptor } from '@connectrpc/connect';
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-web';
import { CallFailureSchema, Role } from '../../gen/llmgateway/v1/completion_pb.ts';
import { CompletionService } from '../../gen/llmgateway/v1/completion_service_pb.ts';

/** Shows text in the page, as it comes. */
type Show = (text: string) => void;

const field = (id: string) => document.querySelector<HTMLInputElement>(`#${id}`)?.value ?? '';

const addKey: Interceptor = (next) => (request) => {
  if (field('key')) request.header.set('authorization', `Bearer ${field('key')}`);
  return next(request);
};

function connect(protocol: string): Client<typeof CompletionService> {
  const options = { baseUrl: field('gateway'), interceptors: [addKey] };
  const transport = protocol === 'grpc-web' ? createGrpcWebTransport(options) : createConnectTransport(options);
  return createClient(CompletionService, transport);
}

function question() {
  const text = { kind: { case: 'text' as const, value: field('question') } };
  return { model: field('model'), messages: [{ role: Role.USER, parts: [text] }] };
}

async function completeByRpc(protocol: string, show: Show): Promise<void> {
  const { outputText, completion } = await connect(protocol).createCompletion({ request: question() });
  show(`${outputText}\n[${completion?.provider}, ${completion?.usage?.totalTokens} tokens]`);
}

async function streamByRpc(protocol: string, show: Show): Promise<void> {
  for await (const { event } of connect(protocol).streamCompletion({ request: question() })) {
    if (event?.event.case === 'textDelta') show(event.event.value.text);
    if (event?.event.case === 'finished') show(`\n[finished, ${event.event.value.usage?.totalTokens} tokens]`);
  }
}

async function fetchChat(stream: boolean): Promise<Response> {
  const response = await fetch(`${field('gateway')}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(field('key') && { authorization: `Bearer ${field('key')}` }) },
    body: JSON.stringify({
      model: field('model') || 'auto',
      messages: [{ role: 'user', content: field('question') }],
      stream,
    }),
  });
  if (response.ok) return response;
  const { error } = await response.json();
  throw new Error(
    `${response.status} ${error.code}: ${error.message} (request ${response.headers.get('x-request-id')})`,
  );
}

async function completeByRest(show: Show): Promise<void> {
  const answer = await (await fetchChat(false)).json();
  show(`${answer.choices[0].message.content}\n[${answer.model}, ${answer.usage.total_tokens} tokens]`);
}

async function streamByRest(show: Show): Promise<void> {
  const response = await fetchChat(true);
  let unread = '';
  for await (const text of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const events = (unread + text).split('\n\n');
    unread = events.pop() ?? '';
    for (const event of events) {
      if (!event.startsWith('data: ')) continue;
      if (event === 'data: [DONE]') return show('\n[done]');
      const chunk = JSON.parse(event.slice('data: '.length));
      if (chunk.error) throw new Error(chunk.error.message);
      show(chunk.choices[0]?.delta.content ?? '');
    }
  }
  throw new Error('the stream ended before it was done');
}

/** What went wrong, in words: code, message, and what the gateway's own detail tells. */
function describe(cause: unknown): string {
  if (!(cause instanceof ConnectError)) return `[failed: ${cause instanceof Error ? cause.message : cause}]`;
  const [failure] = cause.findDetails(CallFailureSchema);
  const told = failure
    ? ` ${failure.reason}: ${cause.rawMessage} (request ${failure.requestId})`
    : `: ${cause.rawMessage}`;
  return `[failed: ${Code[cause.code]}${told}]`;
}

for (const action of ['complete', 'stream'] as const) {
  document.querySelector(`#${action}`)?.addEventListener('click', async () => {
    const answer = document.querySelector('#answer') as HTMLOutputElement;
    const show: Show = (text) => answer.append(text);
    answer.textContent = '';
    answer.dataset.state = 'busy';
    const protocol = field('protocol');
    try {
      if (protocol === 'sse') await (action === 'complete' ? completeByRest(show) : streamByRest(show));
      else await (action === 'complete' ? completeByRpc(protocol, show) : streamByRpc(protocol, show));
    } catch (error) {
      show(describe(error));
    }
    answer.dataset.state = 'ready';
  });
}
