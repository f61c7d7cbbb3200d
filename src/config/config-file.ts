import { readFileSync, statSync } from 'node:fs';
import { type Config, ConfigSchema } from '../../gen/llmgateway/v1/config_pb.ts';
import type { Findings } from './findings.ts';
import type { Environment } from './interpolate.ts';
import { show } from './show.ts';
import { parseYaml } from './yaml-document.ts';
import { readYaml } from './yaml-reader.ts';

/** Parsing takes half a second for each MiB, and 300 providers take 0.1. */
const MAX_BYTES = 4 * 1024 * 1024;

/** Which file, and whether it was read before. */
interface FileToRead {
  readonly file: string;
  readonly again: boolean;
}

/** Read the file; undefined: it could not be read at all, and findings say why. */
export function readConfigFile(source: FileToRead, environment: Environment, findings: Findings): Config | undefined {
  const text = readText(source, findings);
  if (text === undefined) return undefined;
  const document = parseYaml(text, findings);
  return document && readYaml(ConfigSchema, document, environment, findings);
}

function readText({ file, again }: FileToRead, findings: Findings): string | undefined {
  try {
    const stat = statSync(file);
    if (stat.isDirectory()) findings.refuse('', `cannot read ${show(file)}: it is a folder`);
    else if (again && stat.isFIFO()) {
      findings.refuse('', `cannot read ${show(file)}: it is a pipe, which was read at the start`);
    } else if (!stat.isFile() && !stat.isFIFO()) findings.refuse('', `cannot read ${show(file)}: it is not a file`);
    else if (stat.size > MAX_BYTES) {
      findings.refuse('', `cannot read ${show(file)}: it has ${stat.size} bytes, and at most ${MAX_BYTES} are read`);
    } else {
      return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
    }
  } catch (error) {
    findings.refuse('', `cannot read ${show(file)}: ${reasonOf(error as NodeJS.ErrnoException)}`);
  }
  return undefined;
}

function reasonOf({ code }: NodeJS.ErrnoException): string {
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EACCES') return 'permission denied';
  if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return 'it is not UTF-8 text';
  return code ?? 'unknown reason';
}
