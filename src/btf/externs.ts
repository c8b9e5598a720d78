import { toUtf8 } from '../bytes/text.ts';
import type { Btf } from './btf.ts';
import { infoWord } from './encode.ts';
import { datasecError, variableWord } from './datasec.ts';
import { alignOf, sizeOf } from './resolve.ts';
import type { BtfRewrite } from './rewrite.ts';
import { BTF_KIND, BTF_LINKAGE, type BtfDatasec } from './types.ts';

/** An extern of .ksyms is shown to the kernel as an int. */
const ksymSize = 4;
/** Name of the variable that stands for functions in .ksyms. */
const dummyName = 'dummy_ksym';

/** Lays out the externs of .kconfig: larger alignment first, then smaller size, then by name. */
export function placeKconfig(btf: Btf, rewrite: BtfRewrite, section: BtfDatasec, externs: ReadonlySet<string>): void {
  const variables = section.variables.map(({ typeId }, i) => {
    const type = btf.type(typeId);
    if (type.kind !== 'VAR') throw datasecError(btf, section, `its element ${i} is a ${type.kind}, not a VAR`);
    if (!externs.has(type.name)) throw datasecError(btf, section, 'the ELF file has no extern of this name', type.name);
    return { i, varId: typeId, name: toUtf8(type.name), size: sizeOf(btf, type.typeId), align: alignOf(btf, type.typeId) };
  });
  variables.sort((a, b) => b.align - a.align || a.size - b.size || compareBytes(a.name, b.name));
  let end = 0;
  for (const variable of variables) {
    const offset = Math.ceil(end / variable.align) * variable.align;
    end = offset + variable.size;
    if (end > 0xffffffff) throw datasecError(btf, section, 'its variables are too large');
    rewrite.setWord(section.id, variableWord(variable.i) + 1, offset);
    rewrite.setWord(variable.varId, 3, BTF_LINKAGE.GLOBAL);
  }
  rewrite.setWord(section.id, 2, end);
}

/**
 * Makes the externs of .ksyms 4-byte variables one after another, which is all that the kernel's verifier of BTF takes;
 * functions become a variable of their own, and their nameless parameters get a name.
 */
export function placeKsyms(btf: Btf, rewrite: BtfRewrite, section: BtfDatasec, externs: ReadonlySet<string>): void {
  const intId = findInt32(btf);
  let dummy: { readonly id: number; readonly nameOffset: number } | null = null;
  section.variables.forEach(({ typeId }, i) => {
    const type = btf.type(typeId);
    if (!externs.has(type.name)) throw datasecError(btf, section, 'the ELF file has no extern of this name', type.name);
    let target = typeId;
    if (type.kind === 'FUNC') {
      if (dummy === null) {
        const nameOffset = rewrite.addString(dummyName);
        dummy = { id: rewrite.addType([nameOffset, infoWord(BTF_KIND.VAR, 0), intId, BTF_LINKAGE.GLOBAL]), nameOffset };
      }
      nameParameters(btf, rewrite, type.typeId, dummy.nameOffset);
      rewrite.setWord(typeId, 1, infoWord(BTF_KIND.FUNC, BTF_LINKAGE.GLOBAL));
      target = dummy.id;
    } else if (type.kind === 'VAR') {
      rewrite.setWord(typeId, 2, intId);
      rewrite.setWord(typeId, 3, BTF_LINKAGE.GLOBAL);
    } else throw datasecError(btf, section, `its element ${i} is a ${type.kind}, not a VAR or FUNC`);
    [target, i * ksymSize, ksymSize].forEach((word, k) => rewrite.setWord(section.id, variableWord(i) + k, word));
  });
  rewrite.setWord(section.id, 2, section.variables.length * ksymSize);
}

function nameParameters(btf: Btf, rewrite: BtfRewrite, protoId: number, nameOffset: number): void {
  const proto = btf.type(protoId);
  if (proto.kind !== 'FUNC_PROTO') return;
  proto.params.forEach((param, i) => {
    if (param.typeId !== 0 && param.name === '') rewrite.setWord(protoId, 3 + i * 2, nameOffset);
  });
}

/** The first INT of 32 bits; 0 where there is none, which the kernel will refuse. */
function findInt32(btf: Btf): number {
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    if (btf.kindOf(id) !== BTF_KIND.INT) continue;
    const type = btf.type(id);
    if (type.kind === 'INT' && type.bits === 32) return id;
  }
  return 0;
}

/** strcmp's order. */
function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return (a[i] as number) - (b[i] as number);
  return a.length - b.length;
}
