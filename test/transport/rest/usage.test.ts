import { create } from '@bufbuild/protobuf';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type GetUsageRequest,
  GetUsageResponseSchema,
  UsageRecordSchema,
} from '../../../gen/llmgateway/v1/usage_pb.ts';
import { GatewayError } from '../../../src/errors.ts';
import { type Served, serve } from './serve.ts';

const report = create(GetUsageResponseSchema, {
  fromDay: '2026-11-01',
  toDay: '2026-11-30',
  records: [
    {
      day: '2026-11-23',
      key: 'search-team',
      provider: 'groq',
      model: 'openai/gpt-oss-20b',
      calls: 3,
      failedCalls: 1,
      promptTokens: 300,
      completionTokens: 60,
      cachedPromptTokens: 9,
      cacheWritePromptTokens: 4,
      reasoningTokens: 5,
      costUsd: 0.00000021,
      unpricedCalls: 1,
    },
    { day: '2026-11-24', key: 'ads-team', provider: 'local', model: '=cmd|"x",1', calls: 1, costUsd: 12.5 },
  ],
  total: create(UsageRecordSchema, { calls: 4, costUsd: 12.50000021 }),
  budgets: [
    {
      key: 'search-team',
      budgetUsd: 50,
      spentUsd: 1.25,
      reservedUsd: 0.5,
      period: { seconds: 2_592_000n },
      resetTime: { seconds: 1_796_083_200n },
    },
  ],
});

describe('GET /admin/usage', () => {
  const getUsage = vi.fn(async (_request: Omit<GetUsageRequest, '$typeName'>) => report);
  let served: Served;

  beforeEach(async () => {
    getUsage.mockClear();
    served = await serve({ gateway: { getUsage } });
  });

  function get(query = '', headers: Record<string, string> = {}): Promise<Response> {
    return fetch(`${served.url}/admin/usage${query}`, { headers });
  }

  it('tells records, their sum and budgets', async () => {
    const answer = await get();
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({
      from: '2026-11-01',
      to: '2026-11-30',
      records: [
        {
          day: '2026-11-23',
          key: 'search-team',
          provider: 'groq',
          model: 'openai/gpt-oss-20b',
          calls: 3,
          failed_calls: 1,
          prompt_tokens: 300,
          completion_tokens: 60,
          cached_prompt_tokens: 9,
          cache_write_prompt_tokens: 4,
          reasoning_tokens: 5,
          cost_usd: 0.00000021,
          unpriced_calls: 1,
        },
        expect.objectContaining({ key: 'ads-team', calls: 1, cost_usd: 12.5 }),
      ],
      total: expect.objectContaining({ calls: 4, cost_usd: 12.50000021 }),
      budgets: [
        {
          key: 'search-team',
          budget_usd: 50,
          spent_usd: 1.25,
          reserved_usd: 0.5,
          period_seconds: 2_592_000,
          resets_at: '2026-12-01T00:00:00.000Z',
        },
      ],
    });
  });

  it('asks for what the query says', async () => {
    await get('?from=2026-11-01&to=2026-11-30&key=search-team&model=openai%2Fgpt-oss-20b');
    expect(getUsage).toHaveBeenCalledWith({
      fromDay: '2026-11-01',
      toDay: '2026-11-30',
      key: 'search-team',
      model: 'openai/gpt-oss-20b',
    });
  });

  it.each([
    ['?format=csv', {}],
    ['', { accept: 'text/csv, */*;q=0.1' }],
  ])('is a table for %s and %j, in which nothing is a formula', async (query, headers) => {
    const answer = await get(query, headers as Record<string, string>);
    expect(answer.headers.get('content-type')).toBe('text/csv; charset=utf-8; header=present');
    expect(answer.headers.get('content-disposition')).toBe('attachment; filename="usage-2026-11-01-2026-11-30.csv"');
    expect(answer.headers.get('x-request-id')).toMatch(/./);
    expect(await answer.text()).toBe(
      [
        'day,key,provider,model,calls,failed_calls,prompt_tokens,completion_tokens,cached_prompt_tokens,cache_write_prompt_tokens,reasoning_tokens,cost_usd,unpriced_calls',
        '2026-11-23,search-team,groq,openai/gpt-oss-20b,3,1,300,60,9,4,5,0.00000021,1',
        `2026-11-24,ads-team,local,"'=cmd|""x"",1",1,0,0,0,0,0,0,12.5,0`,
        '',
      ].join('\r\n'),
    );
  });

  it('is JSON where the query says so, whatever is accepted', async () => {
    const answer = await get('?format=json', { accept: 'text/csv' });
    expect(answer.headers.get('content-type')).toBe('application/json');
  });

  it.each([
    ['?format=xml', 'format: must be json or csv, not "xml"'],
    ['?form=2026-11-01', 'form: is not a parameter of /admin/usage, only from, to, key, model, format'],
    ['?from=2026-11-01&from=2026-11-02', 'from: is given more than once'],
  ])('refuses %s', async (query, message) => {
    const answer = await get(query);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: 'invalid_request', message });
    expect(getUsage).not.toHaveBeenCalled();
  });

  it('needs admin rights', async () => {
    const { url } = await serve({
      gateway: { getUsage },
      authenticate: () => ({ name: 'search-team', tier: 'default', models: [], admin: false }),
    });
    const answer = await fetch(`${url}/admin/usage`);
    expect(answer.status).toBe(403);
    expect(await answer.json()).toMatchObject({ error: 'permission_denied' });
    expect(getUsage).not.toHaveBeenCalled();
  });

  it('names fields as the query does', async () => {
    getUsage.mockRejectedValueOnce(
      new GatewayError('invalid_request', 'from_day: must be a day', {
        violations: [{ field: 'from_day', description: 'must be a day' }],
      }),
    );
    const answer = await get('?from=x');
    expect(await answer.json()).toMatchObject({ message: 'from: must be a day' });
  });
});
