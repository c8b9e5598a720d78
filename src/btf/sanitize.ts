import type { Btf } from './btf.ts';
import { infoWord, intWord } from './encode.ts';
import { BtfRewrite } from './rewrite.ts';
import { BTF_KIND, type BtfDatasec } from './types.ts';

/** What a kernel's BTF verifier knows; every one is true on Linux 6.9, but for `layout`, which is newer. */
export interface BtfFeatures {
  /** FUNC and FUNC_PROTO (5.0). */
  readonly func: boolean;
  /** FUNC with global linkage (5.6). */
  readonly globalFunc: boolean;
  /** VAR and DATASEC (5.2). */
  readonly datasec: boolean;
  /** DATASEC names that start with `?` (6.9). */
  readonly qmarkDatasec: boolean;
  /** FLOAT (5.13). */
  readonly float: boolean;
  /** DECL_TAG (5.16). */
  readonly declTag: boolean;
  /** TYPE_TAG (5.17). */
  readonly typeTag: boolean;
  /** ENUM64, and the kind_flag of signed enums (6.0). */
  readonly enum64: boolean;
  /** The layout section of the header. */
  readonly layout: boolean;
}

/** A kernel that knows everything: sanitising for it changes nothing. */
export const allBtfFeatures: BtfFeatures = {
  func: true,
  globalFunc: true,
  datasec: true,
  qmarkDatasec: true,
  float: true,
  declTag: true,
  typeTag: true,
  enum64: true,
  layout: true,
};

/**
 * The BTF of an object for a kernel that lacks some kinds: each is replaced by an older one of the same length, so that all
 * ids stay. The same substitutions as libbpf makes, so that a kernel accepts what it accepts from libbpf. Gives new bytes.
 *
 * @example
 * import { allBtfFeatures, Btf, BtfBuilder, sanitizeBtf } from 'rawbpf/btf';
 * const builder = new BtfBuilder();
 * builder.add({ kind: 'FLOAT', name: 'float', size: 4 });
 * const old = Btf.parse(sanitizeBtf(Btf.parse(builder.encode()), { ...allBtfFeatures, float: false }));
 * console.log(old.type(1).kind); // STRUCT
 */
export function sanitizeBtf(btf: Btf, features: BtfFeatures): Uint8Array {
  const rewrite = new BtfRewrite(btf);
  const placeholder = lazyPlaceholder(rewrite);
  for (let id = btf.firstId; id < btf.typeCount; id++) sanitizeType(btf, rewrite, id, features, placeholder);
  return rewrite.encode({ layout: features.layout });
}

function sanitizeType(btf: Btf, rewrite: BtfRewrite, id: number, features: BtfFeatures, placeholder: () => number): void {
  const info = rewrite.word(id, 1);
  const vlen = info & 0xffffff;
  switch (btf.kindOf(id)) {
    case BTF_KIND.VAR:
      if (!features.datasec) toByte(rewrite, id);
      break;
    case BTF_KIND.DECL_TAG:
      // A tag of a variable has nothing to be of once that is an INT.
      if (!features.declTag || !features.datasec) toByte(rewrite, id);
      break;
    case BTF_KIND.DATASEC:
      if (!features.datasec) datasecToStruct(btf, rewrite, id);
      else if (!features.qmarkDatasec && btf.nameOf(id).startsWith('?'))
        rewrite.setWord(id, 0, rewrite.addString(`_${btf.nameOf(id).slice(1)}`));
      break;
    case BTF_KIND.FUNC_PROTO:
      // A parameter and an enumerator are both a name and a word.
      if (!features.func) setHead(rewrite, id, infoWord(BTF_KIND.ENUM, vlen), 4);
      break;
    case BTF_KIND.FUNC:
      if (!features.func) rewrite.setWord(id, 1, infoWord(BTF_KIND.TYPEDEF, 0));
      else if (!features.globalFunc) rewrite.setWord(id, 1, infoWord(BTF_KIND.FUNC, 0));
      break;
    case BTF_KIND.FLOAT:
      // Anonymous: no struct may be called `float`.
      if (!features.float) setAnonymous(rewrite, id, infoWord(BTF_KIND.STRUCT, 0));
      break;
    case BTF_KIND.TYPE_TAG:
      if (!features.typeTag) setAnonymous(rewrite, id, infoWord(BTF_KIND.CONST, 0));
      break;
    case BTF_KIND.ENUM:
      if (!features.enum64) rewrite.setWord(id, 1, infoWord(BTF_KIND.ENUM, vlen));
      break;
    case BTF_KIND.ENUM64:
      if (!features.enum64) enum64ToUnion(rewrite, id, vlen, placeholder());
      break;
  }
}

/** A one-byte INT: four would be too many for a variable of less, and the kernel would refuse the section. */
function toByte(rewrite: BtfRewrite, id: number): void {
  setHead(rewrite, id, infoWord(BTF_KIND.INT, 0), 1);
  rewrite.setWord(id, 3, intWord(0, 0, 8));
}

/** A STRUCT with a member for each variable, and a name that C would take. */
function datasecToStruct(btf: Btf, rewrite: BtfRewrite, id: number): void {
  const section = btf.type(id) as BtfDatasec;
  rewrite.setWord(id, 0, rewrite.addString(section.name.replaceAll(/\W/g, '_')));
  rewrite.setWord(id, 1, infoWord(BTF_KIND.STRUCT, section.variables.length));
  section.variables.forEach((variable, i) => {
    const at = 3 + i * 3;
    rewrite.setWord(id, at, btf.nameOffsetOf(variable.typeId));
    rewrite.setWord(id, at + 1, variable.typeId);
    rewrite.setWord(id, at + 2, variable.offset * 8);
  });
}

/** A UNION with a one-byte member for each enumerator. */
function enum64ToUnion(rewrite: BtfRewrite, id: number, vlen: number, placeholder: number): void {
  rewrite.setWord(id, 1, infoWord(BTF_KIND.UNION, vlen));
  for (let i = 0; i < vlen; i++) {
    rewrite.setWord(id, 3 + i * 3 + 1, placeholder);
    rewrite.setWord(id, 3 + i * 3 + 2, 0);
  }
}

function lazyPlaceholder(rewrite: BtfRewrite): () => number {
  let id = 0;
  return () => {
    if (id === 0) id = rewrite.addType([rewrite.addString('enum64_placeholder'), infoWord(BTF_KIND.INT, 0), 1, intWord(0, 0, 8)]);
    return id;
  };
}

function setHead(rewrite: BtfRewrite, id: number, info: number, size: number): void {
  rewrite.setWord(id, 1, info);
  rewrite.setWord(id, 2, size);
}

function setAnonymous(rewrite: BtfRewrite, id: number, info: number): void {
  rewrite.setWord(id, 0, 0);
  rewrite.setWord(id, 1, info);
}
