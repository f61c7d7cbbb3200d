import { create } from '@bufbuild/protobuf';
import { CacheMode, type CallOptions, CallOptionsSchema } from '../../../gen/llmgateway/v1/completion_pb.ts';
import { readCacheControl } from '../cache-control.ts';

/**
 * Take from the metadata of an rpc what its message may say too, and does not: `Idempotency-Key` and `Cache-Control`.
 *
 * Clients for retries and proxies set headers and do not know our messages.
 */
export function adoptOptionHeaders(request: { options?: CallOptions | undefined }, headers: Headers): void {
  const idempotencyKey = headers.get('idempotency-key');
  const cacheControl = headers.get('cache-control');
  if (!idempotencyKey && !cacheControl) return;
  request.options ??= create(CallOptionsSchema);
  const { options } = request;
  options.idempotencyKey ||= idempotencyKey ?? '';
  if (options.cacheMode === CacheMode.UNSPECIFIED && options.cacheMaxAge === undefined) {
    Object.assign(options, readCacheControl(cacheControl));
  }
}
