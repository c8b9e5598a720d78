import { isMap, isPair, isScalar, type Scalar, isSeq, visit, type Document, type Node, type YAMLMap } from 'yaml';
import { UsageError } from '../error.ts';
import { printable } from '../bytes/printable.ts';

/** A parameter of gadget.yaml's own (`params.custom`): it changes what the rest of the file says. */
export interface CustomParam {
  /** Name of the flag. */
  readonly name: string;
  readonly description: string;
  /** Nothing where the file is left as it is. */
  readonly defaultValue: string;
  /** What it takes; anything where empty. */
  readonly possibleValues: readonly string[];
}

/** Says that a place in the file is wrong. */
export type Complain = (why: string, node: unknown) => Error;

/**
 * Merges what `params.custom` says for these values into the file, names without a value by their defaults, and gives the
 * parameters. `{{ getParamValue "custom.NAME" }}` in a text is the value of NAME.
 *
 * Throws UsageError `E_PARAM` for a value that is not one of a parameter's `values`.
 */
export function applyCustomParams(
  document: Document.Parsed,
  given: ReadonlyMap<string, string>,
  complain: Complain,
): readonly CustomParam[] {
  const group = document.getIn(['params', 'custom'], true);
  if (group === undefined || group === null) return [];
  if (!isMap(group)) throw complain('params.custom must be a mapping', group);
  const params = group.items.map(({ key, value }) => ({ param: readParam(key, value, complain), node: value as YAMLMap }));
  const values = new Map(params.map(({ param }) => [param.name, given.get(param.name) ?? param.defaultValue]));
  for (const { param, node } of params) {
    const value = values.get(param.name) ?? '';
    if (value === '') continue;
    if (param.possibleValues.length > 0 && !param.possibleValues.includes(value)) {
      throw new UsageError({
        code: 'E_PARAM',
        what: `bad value for --${printable(param.name)}: ${printable(value)}`,
        why: `it takes ${param.possibleValues.join(', ')}`,
      });
    }
    for (const path of [['patch'], ['values', value, 'patch']]) {
      const patch = node.getIn(path, true);
      if (patch === undefined || patch === null) continue;
      if (!isMap(patch)) throw complain('a patch must be a mapping', patch);
      merge(document.contents as Node, patch, 0, complain);
    }
  }
  fillTemplates(document, values, complain);
  return params.map(({ param }) => param);
}

function readParam(key: unknown, value: unknown, complain: Complain): CustomParam {
  if (!isScalar(key) || typeof key.value !== 'string') throw complain('a key of params.custom is no text', key);
  const own = key.value;
  if (!isMap(value)) throw complain(`params.custom.${own} must be a mapping`, value ?? key);
  const text = (name: string): string => {
    const found = value.get(name, true);
    if (found === undefined) return '';
    if (!isScalar(found)) throw complain(`params.custom.${own}.${name} must be text`, found);
    const { source, value: scalar } = found as Scalar<string | number | boolean | null | undefined>;
    return scalar === null || scalar === undefined ? '' : (source ?? String(scalar));
  };
  const choices = value.get('values', true);
  return {
    name: own,
    description: text('description'),
    defaultValue: text('defaultValue'),
    possibleValues: isMap(choices) ? choices.items.map((item) => String(isScalar(item.key) ? item.key.value : item.key)) : [],
  };
}

/** Deeper patches are none that anybody wrote. */
const maxDepth = 16;

function merge(target: Node, patch: YAMLMap, depth: number, complain: Complain): void {
  if (!isMap(target) || depth > maxDepth) throw complain('the patch fits nothing', patch);
  for (const { key, value } of patch.items) {
    const existing: unknown = target.get(key, true);
    if (isMap(existing) && isMap(value)) merge(existing, value, depth + 1, complain);
    else target.set(key, isMap(value) || isSeq(value) || isScalar(value) ? value.clone() : value);
  }
}

const template = /\{\{\s*(.*?)\s*\}\}/g;

function fillTemplates(document: Document.Parsed, values: ReadonlyMap<string, string>, complain: Complain): void {
  visit(document, {
    Pair(_, pair) {
      // What is not chosen stays as it is.
      if (isPair(pair) && isScalar(pair.key) && pair.key.value === 'custom') return visit.SKIP;
      return undefined;
    },
    Scalar(_, node) {
      if (typeof node.value !== 'string' || !node.value.includes('{{')) return undefined;
      node.value = node.value.replace(template, (whole, call: string) => {
        const name = /^getParamValue\s+"custom\.([^"]+)"$/.exec(call)?.[1];
        // Other tools know more calls.
        if (name === undefined) return whole;
        const value = values.get(name);
        if (value === undefined) throw complain(`there is no params.custom.${name}`, node);
        return value;
      });
      return undefined;
    },
  });
}
