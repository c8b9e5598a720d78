import { orList, suggest } from '../../bytes/suggest.ts';
import { BPF_ATTACH_TYPE, BPF_PROG_TYPE, valueOf } from '../uapi/index.ts';
import { sectionRows, type SectionRow } from './section-rows.ts';
import type { SectionRule } from './spec.ts';

const rules: readonly SectionRule[] = sectionRows.map(ruleOf);

/**
 * Names that libbpf does not take and other loaders do: the row they stand for is the one of the same name, and where
 * libbpf has only longer names (cgroup_skb/ingress) this one.
 */
const laxRules: readonly SectionRule[] = [...rules, ruleOf(['cgroup_skb', 'CGROUP_SKB', null, 'none'])];

/** What a section name says of the programs in it. */
export interface SectionMatch {
  readonly rule: SectionRule;
  /** What stands after the pattern's slash, null for the bare name. */
  readonly attachTo: string | null;
}

/** How {@link findSectionRule} judges names. */
export interface SectionRuleOptions {
  /**
   * Also take a plain pattern (one without `+`) followed by a slash, dot, dash, underscore or digit, as gadgets are written for other loaders:
   * `socket1`, `classifier/ingress/NAME`, `perf_event/NAME`, `xdp/NAME`.
   */
  readonly lax?: boolean;
}

/**
 * Finds the row of the section table that a section name matches, a leading `?` left off; null where none does.
 * A pattern ending in `+` is the bare name or anything after a slash, every other pattern is the whole name.
 *
 * @example
 * import { findSectionRule } from 'rawbpf/object';
 * console.log(findSectionRule('tracepoint/sched/sched_process_exec')?.attachTo); // sched/sched_process_exec
 * console.log(findSectionRule('xdp/drop'), findSectionRule('xdp/drop', { lax: true })?.rule.pattern); // null xdp
 */
export function findSectionRule(sectionName: string, options: SectionRuleOptions = {}): SectionMatch | null {
  const name = sectionName.startsWith('?') ? sectionName.slice(1) : sectionName;
  for (const rule of rules) {
    if (matches(rule.pattern, name)) return { rule, attachTo: rule.pattern.endsWith('+') ? afterSlash(name) : null };
  }
  if (options.lax !== true) return null;
  for (const rule of laxRules) {
    if (rule.pattern.endsWith('+') || !name.startsWith(rule.pattern)) continue;
    const rest = name.slice(rule.pattern.length);
    if (rest === '' || /^[/._\-0-9]/.test(rest)) return { rule, attachTo: rest.startsWith('/') && rest.length > 1 ? rest.slice(1) : null };
  }
  return null;
}

/**
 * `did you mean ...?` for a section name that no rule matches: names are compared without what stands after the hook, which is kept.
 * '' where none is near.
 */
export function suggestSection(sectionName: string): string {
  const name = sectionName.startsWith('?') ? sectionName.slice(1) : sectionName;
  const known = new Set(rules.map(({ pattern }) => pattern.replace(/\+$/, '')));
  const whole = suggest(name, known);
  if (whole.length > 0) return orList(whole);
  const [hook = '', rest] = [name.split('/', 1)[0], afterSlash(name)];
  // `xdp_prog`, `socket_filter`: the hook's name with something else after it.
  const begun = [...known].filter((hookName) => /^[_.\-/]/.test(name.slice(hookName.length)) && name.startsWith(hookName));
  if (begun.length > 0) return orList([begun.reduce((a, b) => (b.length > a.length ? b : a))]);
  if (rest === null) return '';
  const taking = rules.filter(({ pattern }) => pattern.endsWith('+')).map(({ pattern }) => pattern.slice(0, -1));
  return orList(suggest(hook, taking).map((near) => `${near}/${rest}`));
}

/** Every row of the section table, in order. */
export function sectionRules(): readonly SectionRule[] {
  return rules;
}

function matches(pattern: string, name: string): boolean {
  if (!pattern.endsWith('+')) return name === pattern;
  const bare = pattern.slice(0, -1);
  return name.startsWith(bare) && (name.length === bare.length || name[bare.length] === '/');
}

function afterSlash(name: string): string | null {
  const slash = name.indexOf('/');
  return slash < 0 ? null : name.slice(slash + 1);
}

function ruleOf([pattern, type, attachType, attach, ...flags]: SectionRow): SectionRule {
  const programType = valueOf(BPF_PROG_TYPE, `BPF_PROG_TYPE_${type}`);
  const expected = attachType === null ? null : valueOf(BPF_ATTACH_TYPE, attachType);
  if (programType === null || (attachType !== null && expected === null))
    throw new TypeError(`section row ${pattern} names an unknown constant`);
  return {
    pattern,
    programType,
    attachType: expected,
    attach,
    sleepable: flags.includes('sleepable'),
    attachTypeOptional: flags.includes('optional'),
    needsBtfTarget: flags.includes('btf'),
    xdpFrags: flags.includes('frags'),
  };
}
