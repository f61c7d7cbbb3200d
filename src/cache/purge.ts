import type { PurgeCacheRequest } from '../../gen/llmgateway/v1/admin_service_pb.ts';
import { GatewayError } from '../errors.ts';
import type { AnswerStore, Selection } from './answer-store.ts';
import { callerTag, modelTag } from './cache.ts';

const CHOICES = 'model, key, caller and all';
const RETRY_AFTER_MS = 1000;

/** Forget the answers that a request names; tells how many. Throws where it names none, or the store cannot be reached. */
export async function purgeAnswers(store: AnswerStore, { selection }: PurgeCacheRequest): Promise<number> {
  const selected = selectionOf(selection);
  try {
    return await store.purge(selected);
  } catch (cause) {
    const message = 'the store of the cache does not answer: some of the answers may not have been purged';
    throw new GatewayError('overloaded', message, { retryAfterMs: RETRY_AFTER_MS, cause });
  }
}

function selectionOf(selection: PurgeCacheRequest['selection']): Selection {
  switch (selection.case) {
    case 'all':
      if (selection.value) return 'all';
      throw wrong('all', 'must be true where it is given');
    case 'key':
      if (/^[0-9a-f]{64}$/.test(selection.value)) return { key: selection.value };
      throw wrong('key', 'must be the 64 hexadecimal digits of an X-Cache-Key header');
    case 'model':
    case 'caller':
      if (selection.value === '') throw wrong(selection.case, 'must not be empty');
      return { tag: selection.case === 'model' ? modelTag(selection.value) : callerTag(selection.value) };
    default:
      throw wrong('selection', `is required: one of ${CHOICES}`);
  }
}

function wrong(field: string, description: string): GatewayError {
  return new GatewayError('invalid_request', `${field}: ${description}`, { violations: [{ field, description }] });
}
