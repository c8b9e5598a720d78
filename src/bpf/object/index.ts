export { openObject, type OpenOptions } from './open.ts';
export { findSectionRule, sectionRules, type SectionMatch, type SectionRuleOptions } from './section-rule.ts';
export type * from './linked.ts';
export type * from './spec.ts';
export type * from './target.ts';
