export { LinkError } from './link/error.ts';
export { linkObject, linkProgram } from './link/link.ts';
export { LinkSession, type LinkOptions } from './link/session.ts';
export { openObject, type OpenOptions } from './open.ts';
export { findSectionRule, sectionRules, type SectionMatch, type SectionRuleOptions } from './section-rule.ts';
export type * from './linked.ts';
export type * from './spec.ts';
export type * from './target.ts';
