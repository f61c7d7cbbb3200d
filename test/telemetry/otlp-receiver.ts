import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';

/** A span as a collector gets it. */
export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty: it is a root. */
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: 'internal' | 'server' | 'client' | 'other';
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly failed: boolean;
  readonly startMs: number;
  readonly endMs: number;
  readonly resource: Readonly<Record<string, unknown>>;
}

/** A collector that takes traces as OTLP over HTTP, in JSON. */
export interface OtlpReceiver {
  /** The value of OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly url: string;
  readonly spans: readonly ReceivedSpan[];
  /** Take nothing from now on, and leave those who send waiting. */
  block(): void;
  close(): Promise<void>;
}

interface Value {
  stringValue?: string;
  intValue?: number | string;
  doubleValue?: number;
  boolValue?: boolean;
  arrayValue?: { values: Value[] };
}
type KeyValues = { key: string; value: Value }[];

const kinds = ['other', 'internal', 'server', 'client'] as const;

/** Start a collector on a free port. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  let blocked = false;
  const server = createServer(async (request, response) => {
    if (blocked) return;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const text = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).toString();
    if (request.url === '/v1/traces') spans.push(...read(JSON.parse(text)));
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    block() {
      blocked = true;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Export {
  resourceSpans: { resource: { attributes: KeyValues }; scopeSpans: { spans: Record<string, never>[] }[] }[];
}

function read({ resourceSpans }: Export): ReceivedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        traceId: span.traceId ?? '',
        spanId: span.spanId ?? '',
        parentSpanId: span.parentSpanId ?? '',
        name: span.name ?? '',
        kind: kinds[span.kind ?? 0] ?? 'other',
        attributes: attributesOf(span.attributes ?? []),
        links: span.links ?? [],
        failed: (span.status as { code?: number } | undefined)?.code === 2,
        startMs: Number(span.startTimeUnixNano) / 1e6,
        endMs: Number(span.endTimeUnixNano) / 1e6,
        resource: attributesOf(resource.attributes),
      })),
    ),
  );
}

function attributesOf(list: KeyValues): Record<string, unknown> {
  return Object.fromEntries(list.map(({ key, value }) => [key, plainOf(value)]));
}

function plainOf({ stringValue, intValue, doubleValue, boolValue, arrayValue }: Value): unknown {
  if (arrayValue) return arrayValue.values?.map(plainOf) ?? [];
  return stringValue ?? doubleValue ?? boolValue ?? (intValue === undefined ? undefined : Number(intValue));
}

/** The tree of a trace, as names below names. */
export function treeOf(spans: readonly ReceivedSpan[], root: ReceivedSpan): object {
  const below = spans
    .filter(({ parentSpanId }) => parentSpanId === root.spanId)
    .sort((one, other) => one.startMs - other.startMs);
  return below.length === 0
    ? {}
    : Object.fromEntries(below.map((span, at) => [`${at + 1} ${span.name}`, treeOf(spans, span)]));
}
