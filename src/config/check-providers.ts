import {
  type Config,
  type ProviderConfig,
  ProviderKind,
  ProviderKindSchema,
} from '../../gen/llmgateway/v1/config_pb.ts';
import { isSendable, notSendable } from './environment.ts';
import type { Findings } from './findings.ts';
import { kindOf, providerVariables } from './kinds.ts';
import { show } from './show.ts';
import { wordOf } from './words.ts';

/** Refuse providers that share a name, and such as could never be called. */
export function checkProviders(
  { providers }: Config,
  switchedOff: ReadonlyMap<string, string>,
  findings: Findings,
): void {
  const taken = new Map<string, string>();
  for (const [index, provider] of providers.entries()) {
    const path = `providers[${index}]`;
    findings.refuseTaken(`${path}.name`, provider.name, taken);
    checkBaseUrl(provider, path, findings);
    if (!switchedOff.has(provider.name)) checkHasKey(provider, path, findings);
    checkKeys(provider, path, findings);
    checkHeaders(provider, path, findings);
  }
}

function checkBaseUrl({ baseUrl, kind }: ProviderConfig, path: string, findings: Findings): void {
  const at = `${path}.base_url`;
  if (baseUrl === '') {
    if (kind === ProviderKind.OPENAI_COMPATIBLE) findings.refuse(at, 'is required for the kind openai_compatible');
    return;
  }
  const problem = problemWithBaseUrl(baseUrl, findings.shown(at, baseUrl));
  if (problem) findings.refuse(at, problem);
}

/** Of a URL with a user or a query nothing is shown: that is where keys are put by mistake. */
function problemWithBaseUrl(text: string, shown: string): string | undefined {
  const url = URL.parse(text);
  if (text.includes('@') && (url === null || url.username !== '' || url.password !== '')) {
    return 'must not hold a user name or password; give the key as api_key';
  }
  if (text.includes('?')) return 'must not have a query ("?"); give a key as api_key, or anything else in headers';
  if (text.includes('#')) return 'must not have a fragment ("#")';
  if (url && /^https?:\/\/[^/\s\\]/i.test(text) && !/[\s\\]/.test(text)) return undefined;
  const isNear = /^[a-z0-9.-]+(?::\d+)?(?:\/|$)/i.test(text) && shown === show(text);
  const fix = isNear ? `; did you mean ${show(`http://${text}`)}?` : '';
  return `must be an http or https URL, not ${shown}${fix}`;
}

function checkHasKey(provider: ProviderConfig, path: string, findings: Findings): void {
  if (!kindOf(provider.kind).needsKey || provider.apiKey !== '' || provider.apiKeys.length > 0) return;
  const variables = providerVariables.find(({ name }) => name === provider.name);
  if (variables?.key && findings.origin(path)?.variable === variables.enable) {
    findings.refuseVariable(variables.key, `is not set, but ${variables.enable} is true`);
    return;
  }
  const elsewhere = variables?.key ? `, here or as ${variables.key}` : '';
  findings.refuse(
    `${path}.api_key`,
    `is required for the kind ${wordOf(ProviderKindSchema, provider.kind)}${elsewhere}`,
  );
}

function checkKeys({ apiKey, apiKeys }: ProviderConfig, path: string, findings: Findings): void {
  if (apiKey !== '' && apiKeys.length > 0) {
    findings.refuse(`${path}.api_keys`, 'must not be given together with api_key; put all keys into api_keys');
  }
  if (apiKey !== '' && !isSendable(apiKey)) findings.refuse(`${path}.api_key`, notSendable);
  const firsts = new Map<string, number>();
  for (const [index, key] of apiKeys.entries()) {
    const first = firsts.get(key);
    if (first === undefined) firsts.set(key, index);
    if (key !== '' && !isSendable(key)) findings.refuse(`${path}.api_keys[${index}]`, notSendable);
    else if (first !== undefined)
      findings.refuse(`${path}.api_keys[${index}]`, `is the same key as ${path}.api_keys[${first}]`);
  }
}

/** Headers that belong to the connection or the body, which the gateway writes itself. */
const framing = new Set([
  'connection',
  'content-length',
  'content-type',
  'expect',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

function checkHeaders({ headers }: ProviderConfig, path: string, findings: Findings): void {
  const seen = new Set<string>();
  for (const [name, value] of Object.entries(headers)) {
    const at = `${path}.headers[${JSON.stringify(name)}]`;
    const lower = name.toLowerCase();
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) findings.refuse(at, `${show(name)} is no name of a header`);
    else if (framing.has(lower)) findings.refuse(at, `the gateway sets the header ${show(lower)} itself`);
    else if (seen.has(lower)) findings.refuse(at, `the header ${show(lower)} is given twice, in different case`);
    else if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
      findings.refuse(at, 'must not hold line breaks or other control characters');
    seen.add(lower);
  }
}
