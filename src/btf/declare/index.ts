export { cDeclaration } from './c-type.ts';
export { declareTypes, type DeclareOptions } from './declare.ts';
