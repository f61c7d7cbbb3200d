import type { Findings } from './findings.ts';
import type { Environment } from './interpolate.ts';

/** What the standard variables say of the way to the outside. */
export interface NetworkOfEnvironment {
  /** URL of the proxy for http. */
  readonly httpProxy?: string;
  /** URL of the proxy for https. */
  readonly httpsProxy?: string;
  /** What is reached without a proxy. */
  readonly noProxy: readonly string[];
  /** Path of a PEM file of certificates to be trusted beside the usual ones. */
  readonly caFile?: string;
}

/**
 * Read HTTP_PROXY, HTTPS_PROXY, NO_PROXY, of which the lower-case names go first, and SSL_CERT_FILE.
 *
 * NODE_EXTRA_CA_CERTS is not read here: Node does that itself. No message shows a proxy's URL, which may hold a password.
 */
export function readNetwork(environment: Environment, findings: Findings): NetworkOfEnvironment {
  const httpProxy = readProxy(environment, 'HTTP_PROXY', findings);
  const httpsProxy = readProxy(environment, 'HTTPS_PROXY', findings);
  const noProxy = firstOf(environment, 'NO_PROXY')?.value ?? '';
  return {
    ...(httpProxy !== undefined && { httpProxy }),
    ...(httpsProxy !== undefined && { httpsProxy }),
    noProxy: noProxy.split(/[\s,]+/).filter((entry) => entry !== ''),
    ...(environment.SSL_CERT_FILE && { caFile: environment.SSL_CERT_FILE }),
  };
}

function firstOf(environment: Environment, name: string): { variable: string; value: string } | undefined {
  for (const variable of [name.toLowerCase(), name]) {
    const value = environment[variable];
    if (value) return { variable, value };
  }
  return undefined;
}

/** As everywhere, a proxy without a scheme is reached by http. */
function readProxy(environment: Environment, name: string, findings: Findings): string | undefined {
  const given = firstOf(environment, name);
  if (!given) return undefined;
  const text = given.value.includes('://') ? given.value : `http://${given.value}`;
  const url = URL.parse(text);
  if (url && /^https?:$/.test(url.protocol) && isDecodable(url.username + url.password)) return text;
  findings.refuseVariable(
    given.variable,
    'must be the http or https URL of a proxy, such as http://proxy.example:3128',
  );
  return undefined;
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
