import { readFileSync } from 'node:fs';
import type { Config } from '../../gen/llmgateway/v1/config_pb.ts';
import { tokenAlgorithms } from './defaults.ts';
import type { Findings } from './findings.ts';
import { showChoice } from './show.ts';

/** Refuse issuers whose keys cannot be found, algorithms without public keys, and issuers given twice. */
export function checkJwt({ jwt }: Config, findings: Findings): void {
  const taken = new Map<string, string>();
  for (const [index, { issuer, audience, jwksUrl, jwksFile, algorithms }] of jwt.entries()) {
    const path = `jwt[${index}]`;
    const before = taken.get(`${issuer}\n${audience}`);
    if (before) findings.refuse(`${path}.issuer`, `its tokens for this audience are taken by ${before} already`);
    else if (issuer !== '' && audience !== '') taken.set(`${issuer}\n${audience}`, path);
    if (jwksUrl !== '' && jwksFile !== '') findings.refuse(`${path}.jwks_file`, 'not together with jwks_url');
    else if (jwksUrl !== '') checkUrl(jwksUrl, `${path}.jwks_url`, findings);
    else if (jwksFile !== '') checkFile(jwksFile, `${path}.jwks_file`, findings);
    // A setting that was given and could not be read is a problem already.
    else if (!findings.isRefused(`${path}.jwks_file`)) findings.refuse(`${path}.jwks_url`, 'is required, or jwks_file');
    for (const [at, algorithm] of algorithms.entries()) {
      if (tokenAlgorithms.includes(algorithm) || algorithm === '') continue;
      const shown = findings.shown(`${path}.algorithms[${at}]`, algorithm);
      const why = /^HS/i.test(algorithm)
        ? ': it has no public key'
        : /^none$/i.test(algorithm)
          ? ': it signs nothing'
          : '';
      findings.refuse(`${path}.algorithms[${at}]`, `must be ${showChoice(tokenAlgorithms)}, not ${shown}${why}`);
    }
  }
}

function checkUrl(text: string, path: string, findings: Findings): void {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol)) {
    findings.refuse(path, `must be an http or https URL, not ${findings.shown(path, text)}`);
  } else if (url.username !== '' || url.password !== '') {
    findings.refuse(path, 'must have no user and no password: key sets are public');
  }
}

function checkFile(file: string, path: string, findings: Findings): void {
  const shown = findings.shown(path, file);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    findings.refuse(path, `cannot read ${shown}: ${(error as NodeJS.ErrnoException).code}`);
    return;
  }
  const problem = problemWithKeySet(text);
  if (problem) findings.refuse(path, `${shown} ${problem}`);
}

function problemWithKeySet(text: string): string | undefined {
  const keys = keysIn(text);
  if (!keys) return 'is no JSON Web Key Set: {"keys": [...]}';
  if (keys.length === 0) return 'has no key';
  if (keys.some(({ d, k }) => d !== undefined || k !== undefined))
    return 'has a private key: only public ones belong here';
  return undefined;
}

function keysIn(text: string): Record<string, unknown>[] | undefined {
  try {
    const { keys } = JSON.parse(text);
    const areMaps = Array.isArray(keys) && keys.every((key) => typeof key === 'object' && key !== null);
    return areMaps ? keys : undefined;
  } catch {
    return undefined;
  }
}
