import type { DescField } from '@bufbuild/protobuf';
import { pathToString } from '@bufbuild/protobuf/reflect';
import { createValidator, type Violation } from '@bufbuild/protovalidate';
import { type Config, ConfigSchema } from '../../gen/llmgateway/v1/config_pb.ts';
import type { Findings } from './findings.ts';
import { showChoice } from './show.ts';
import { wordsOf } from './words.ts';

const validator = createValidator();

/** Refuse what breaks the rules written beside the fields in config.proto. */
export function checkRules(config: Config, findings: Findings): void {
  const result = validator.validate(ConfigSchema, config);
  if (result.kind === 'error') throw result.error;
  for (const violation of result.violations ?? []) {
    const path = pathToString(violation.field);
    findings.refuse(path, describe(violation, findings.isGiven(path), findings.origin(path)?.text));
  }
}

/** Say a violation in the file's words: as defaults keep the rules, what breaks one without having been given is missing. */
function describe(violation: Violation, isGiven: boolean, shown: string | undefined): string {
  const field = violation.field.findLast((step): step is DescField => step.kind === 'field');
  if (!isGiven) return field?.enum ? `is required: ${showChoice(wordsOf(field.enum))}` : 'is required';
  if (violation.ruleId === 'string.min_len') return 'must not be empty';
  const message = violation.message.replace('does not match regex pattern', 'must match').replace('item(s)', 'item');
  return shown === undefined ? message : `${message}, not ${shown}`;
}
