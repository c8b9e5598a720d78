import type { Btf } from '../../btf.ts';
import { BTF_KIND } from '../../types.ts';
import { TypeTable } from '../table.ts';
import { surveyTypes, type TypeSurvey } from './survey.ts';
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

/** 1 for kinds that C defines at file scope. */
const isDefined = new Uint8Array(128);
for (const kind of ['STRUCT', 'UNION', 'ENUM', 'ENUM64', 'FWD', 'TYPEDEF'] as const) isDefined[BTF_KIND[kind]] = 1;

const prologue = `#ifndef __VMLINUX_H__
#define __VMLINUX_H__

`;
// clang warns of a pragma that nothing falls under.
const pushAttribute = `#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

`;
const popAttribute = `#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
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
const epilogue = '#endif /* __VMLINUX_H__ */\n';

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
  const survey = surveyTypes(table);
  const writer = new CWriter(table, survey);
  const { out } = writer.text;
  const kfuncs = options.kfuncs === false || options.types !== undefined ? [] : kfuncsOf(table);
  for (const kfunc of kfuncs) kfunc.reserved = writer.text.reserve(kfunc.name);
  if (options.comment !== undefined) out.text(commentOf(options.comment));
  out.text(prologue + (survey.hasRecords ? pushAttribute : '') + (kfuncs.length === 0 ? '' : ksymMacros));
  if (options.types !== undefined) for (const id of options.types) writer.define(id);
  else {
    for (let id = 1; id < table.count;) {
      id = defineSome(table, survey, writer, id);
      if (out.length >= chunkLength) yield out.take();
    }
  }
  if (kfuncs.length > 0) writePrototypes(writer, kfuncs);
  out.text((survey.hasRecords ? popAttribute : '') + epilogue);
  yield out.take();
}

/** Defines types from an id on until a piece of text is full; gives the next id. A function of its own, for generators run slowly. */
function defineSome(table: TypeTable, survey: TypeSurvey, writer: CWriter, id: number): number {
  const { kinds, count } = table;
  const { out } = writer.text;
  for (; id < count && out.length < chunkLength; id++) {
    const kind = kinds[id] as number;
    if (isDefined[kind] === 1 && (table.isNamed(id) || survey.loneEnums[id] === 1)) writer.define(id);
  }
  return id;
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
    if (table.kinds[id] !== BTF_KIND.DECL_TAG || table.word(table.head(id) + 3) !== 0xffffffff) continue;
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
  const { text } = writer;
  for (const { prototypeId } of kfuncs) writer.prepare(prototypeId);
  text.out.text('/* BPF kfuncs */\n#ifndef BPF_NO_KFUNC_PROTOTYPES\n');
  for (const { name, reserved, prototypeId, fastcall } of kfuncs) {
    if (reserved !== name) continue;
    text.out.text(`extern ${fastcall ? '__bpf_fastcall ' : ''}`);
    text.declaration(prototypeId, text.addName(name), 0);
    text.out.text(' __weak __ksym;\n');
  }
  text.out.text('#endif\n\n');
}

function commentOf(comment: string): string {
  const lines = comment.replaceAll('*/', '* /').split('\n');
  return `/*\n${lines.map((line) => ` * ${line}`.trimEnd()).join('\n')}\n */\n`;
}
