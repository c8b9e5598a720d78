import type { Btf } from '../../btf.ts';
import { BTF_KIND } from '../../types.ts';
import { TypeTable } from '../table.ts';
import { CWriter } from './writer.ts';

/** What {@link dumpC} writes. */
export interface DumpCOptions {
  /** Only these types and what they hold by value; all types of the BTF (and of its base) unless given. */
  readonly types?: readonly number[];
  /** Prototypes of the kernel's kfuncs, for BTF that marks them; true unless said. */
  readonly kfuncs?: boolean;
  /** A comment for the top, without comment marks; none unless given. */
  readonly comment?: string;
}

/** Text is handed on in pieces of about this many characters. */
const chunkLength = 1 << 16;

const prologue = `#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

`;
const ksymMacros = `#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

#ifndef __bpf_fastcall
#if __has_attribute(bpf_fastcall)
#define __bpf_fastcall __attribute__((bpf_fastcall))
#else
#define __bpf_fastcall
#endif
#endif

`;
const epilogue = `#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
`;

/**
 * Writes types as a C header, a `vmlinux.h`, in pieces of text: every struct has the size and every member the offset that
 * the BTF says when clang compiles it for BPF. Types of the same name get `___2`, `___3`, ..., which CO-RE ignores.
 *
 * Throws FormatError (`E_BTF_LOOP`, `E_BTF_DEPTH`, `E_BTF_SIZE`, `E_BTF_TYPE_ID`) for types that are not C.
 * Names that are no C identifiers are changed to some.
 *
 * @example
 * import { dumpC, type Btf } from 'rawbpf/btf';
 * export const headerOf = (btf: Btf): string => [...dumpC(btf, { kfuncs: false })].join('');
 */
export function* dumpC(btf: Btf, options: DumpCOptions = {}): Generator<string, void, undefined> {
  const table = new TypeTable(btf);
  const writer = new CWriter(table);
  const kfuncs = options.kfuncs === false || options.types !== undefined ? [] : kfuncsOf(table);
  for (const kfunc of kfuncs) kfunc.reserved = writer.reserve(kfunc.name);
  if (options.comment !== undefined) writer.text += commentOf(options.comment);
  writer.text += prologue + (kfuncs.length === 0 ? '' : ksymMacros);
  const loneEnums = options.types === undefined ? unreferencedEnums(table) : null;
  const define = (id: number): string => {
    if (loneEnums === null || table.isNamed(id) || loneEnums[id] === 1) writer.define(id);
    if (writer.text.length < chunkLength) return '';
    const chunk = writer.text;
    writer.text = '';
    return chunk;
  };
  if (options.types === undefined) {
    for (let id = 1; id < table.count; id++) {
      const chunk = define(id);
      if (chunk !== '') yield chunk;
    }
  } else {
    for (const id of options.types) {
      const chunk = define(id);
      if (chunk !== '') yield chunk;
    }
  }
  if (kfuncs.length > 0) writePrototypes(writer, kfuncs);
  yield writer.text + epilogue;
}

interface Kfunc {
  readonly name: string;
  /** The name as it could be had: another one where a typedef or enumerator is called so. */
  reserved: string;
  readonly prototypeId: number;
  fastcall: boolean;
}

/** FUNCs that a declaration tag marks as kfuncs, sorted by name. */
function kfuncsOf(table: TypeTable): Kfunc[] {
  const found = new Map<number, Kfunc>();
  const fastcalls: number[] = [];
  for (let id = 1; id < table.count; id++) {
    if (table.kind(id) !== BTF_KIND.DECL_TAG || table.word(table.head(id) + 3) !== 0xffffffff) continue;
    const target = table.sizeOrType(id);
    const tag = table.name(id);
    if (tag === 'bpf_fastcall') fastcalls.push(target);
    if (tag !== 'bpf_kfunc' || table.kind(target) !== BTF_KIND.FUNC) continue;
    const name = table.name(target);
    if (/^[A-Za-z_]\w*$/.test(name)) found.set(target, { name, reserved: '', prototypeId: table.sizeOrType(target), fastcall: false });
  }
  for (const id of fastcalls) {
    const kfunc = found.get(id);
    if (kfunc !== undefined) kfunc.fastcall = true;
  }
  return [...found.values()].toSorted((a, b) => (a.name < b.name ? -1 : Number(a.name > b.name)));
}

function writePrototypes(writer: CWriter, kfuncs: readonly Kfunc[]): void {
  let text = '/* BPF kfuncs */\n#ifndef BPF_NO_KFUNC_PROTOTYPES\n';
  for (const { name, reserved, prototypeId, fastcall } of kfuncs) {
    if (reserved !== name) continue;
    text += `extern ${fastcall ? '__bpf_fastcall ' : ''}${writer.declare(prototypeId, name)} __weak __ksym;\n`;
  }
  writer.text += `${text}#endif\n\n`;
}

/** Anonymous enums that nothing refers to: constants. Those referred to stand where they are used. */
function unreferencedEnums(table: TypeTable): Uint8Array {
  const {
    ENUM,
    ENUM64,
    STRUCT,
    UNION,
    ARRAY,
    FUNC_PROTO,
    DATASEC,
    PTR,
    TYPEDEF,
    VOLATILE,
    CONST,
    RESTRICT,
    FUNC,
    VAR,
    DECL_TAG,
    TYPE_TAG,
  } = BTF_KIND;
  const lone = new Uint8Array(table.count);
  const { words } = table;
  for (let id = 1; id < table.count; id++) {
    const kind = table.kind(id);
    if ((kind === ENUM || kind === ENUM64) && !table.isNamed(id)) lone[id] = 1;
  }
  const refer = (id: number): void => {
    if (id < lone.length) lone[id] = 0;
  };
  for (let id = 1; id < table.count; id++) {
    const head = table.head(id);
    const vlen = (words[head + 1] as number) & 0xffffff;
    switch (table.kind(id)) {
      case STRUCT:
      case UNION:
        for (let i = 0; i < vlen; i++) refer(words[head + 4 + i * 3] as number);
        break;
      case ARRAY:
        refer(words[head + 3] as number);
        break;
      case FUNC_PROTO:
        refer(words[head + 2] as number);
        for (let i = 0; i < vlen; i++) refer(words[head + 4 + i * 2] as number);
        break;
      case DATASEC:
        for (let i = 0; i < vlen; i++) refer(words[head + 3 + i * 3] as number);
        break;
      case PTR:
      case TYPEDEF:
      case VOLATILE:
      case CONST:
      case RESTRICT:
      case FUNC:
      case VAR:
      case DECL_TAG:
      case TYPE_TAG:
        refer(words[head + 2] as number);
        break;
      default:
    }
  }
  return lone;
}

function commentOf(comment: string): string {
  const lines = comment.replaceAll('*/', '* /').split('\n');
  return `/*\n${lines.map((line) => ` * ${line}`.trimEnd()).join('\n')}\n */\n`;
}
