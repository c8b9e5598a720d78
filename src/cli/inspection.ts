import { BPF_ATTACH_TYPE, BPF_MAP_TYPE, BPF_PROG_TYPE, nameOf } from '../bpf/uapi/index.ts';
import type { ObjectSpec, RelocationTarget } from '../bpf/object/index.ts';
import { fieldsOf, type Btf } from '../btf/index.ts';
import { coreKindName } from '../btf/core/kinds.ts';
import { formatSpec, parseSpec } from '../btf/core/spec.ts';
import { Types } from '../btf/core/types.ts';
import { cDeclaration } from '../btf/declare/index.ts';
import type { ElfFile } from '../elf/index.ts';
import { programText } from './disassembly.ts';

/** What `rawbpf inspect -o json` prints. */
export interface Inspection {
  readonly object: string;
  readonly littleEndian: boolean;
  readonly license: string;
  readonly sections: readonly {
    readonly index: number;
    readonly name: string;
    readonly type: number;
    readonly flags: bigint;
    readonly size: number;
  }[];
  readonly maps: readonly {
    readonly name: string;
    readonly origin: string;
    readonly type: string;
    readonly keySize: number;
    readonly valueSize: number;
    readonly maxEntries: number;
    readonly flags: number;
    readonly inner: string | null;
  }[];
  readonly programs: readonly {
    readonly name: string;
    readonly section: string;
    readonly type: string;
    readonly attachType: string | null;
    readonly attachTo: string | null;
    readonly autoload: boolean;
    readonly insnCount: number;
  }[];
  readonly variables: readonly {
    readonly name: string;
    readonly map: string;
    readonly offset: number;
    readonly size: number;
    readonly type: string;
  }[];
  readonly externs: readonly { readonly name: string; readonly kind: string; readonly weak: boolean }[];
  readonly events: readonly {
    readonly name: string;
    readonly map: string;
    readonly struct: string;
    readonly size: number;
    readonly fields: readonly { readonly name: string; readonly offset: number; readonly size: number; readonly type: string }[];
  }[];
  readonly relocations: readonly { readonly section: string; readonly insn: number; readonly kind: string; readonly target: string }[];
  readonly coreRelocations: readonly { readonly section: string; readonly insn: number; readonly kind: string; readonly access: string }[];
  readonly disassembly?: readonly { readonly program: string; readonly section: string; readonly text: string }[];
}

/** Everything an object says, as plain data. */
export function inspection(object: string, elf: ElfFile, spec: ObjectSpec, disasm: boolean): Inspection {
  const { btf } = spec;
  const typeOf = (id: number): string => (btf === null || id === 0 ? '' : cDeclaration(btf, id, ''));
  return {
    object,
    littleEndian: spec.littleEndian,
    license: spec.license,
    sections: elf.sections.slice(1).map(({ index, name, type, flags, size }) => ({ index, name, type, flags, size })),
    maps: spec.maps.map((map) => ({
      name: map.name,
      origin: map.origin,
      type: nameOf(BPF_MAP_TYPE, map.type) ?? String(map.type),
      keySize: map.keySize,
      valueSize: map.valueSize,
      maxEntries: map.maxEntries,
      flags: map.flags,
      inner: map.inner === null ? null : (nameOf(BPF_MAP_TYPE, map.inner.type) ?? String(map.inner.type)),
    })),
    programs: spec.programs.map((program) => ({
      name: program.name,
      section: program.sectionName,
      type: nameOf(BPF_PROG_TYPE, program.type) ?? String(program.type),
      attachType: program.expectedAttachType === null ? null : nameOf(BPF_ATTACH_TYPE, program.expectedAttachType),
      attachTo: program.attachTo,
      autoload: program.autoload,
      insnCount: program.insns.length / 8,
    })),
    variables: spec.variables.map(({ name, map, offset, size, typeId }) => ({ name, map, offset, size, type: typeOf(typeId) })),
    externs: spec.externs.map(({ name, kind, weak }) => ({ name, kind, weak })),
    events: btf === null ? [] : eventsOf(btf, typeOf),
    relocations: [...spec.code.values()].flatMap((code) =>
      code.relocations.map(({ insn, target }) => ({ section: code.name, insn, kind: target.kind, target: targetText(target) })),
    ),
    coreRelocations: btf === null ? [] : coreRows(spec, btf),
    ...(disasm
      ? {
          disassembly: spec.programs.map((program) => ({
            program: program.name,
            section: program.sectionName,
            text: programText(spec, program),
          })),
        }
      : {}),
  };
}

/** Event types: the structs that GADGET_TRACER names, found by the names of variables. */
function eventsOf(btf: Btf, typeOf: (id: number) => string): Inspection['events'] {
  const events: Inspection['events'][number][] = [];
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    const [, name, map, struct] = /^gadget_tracer_(\w+?)___(\w+?)___(\w+)$/.exec(btf.nameOf(id)) ?? [];
    if (name === undefined || map === undefined || struct === undefined) continue;
    const structId = btf.findByName(struct, 'STRUCT');
    const type = structId === null ? null : btf.type(structId);
    if (structId === null || type?.kind !== 'STRUCT') continue;
    const fields = fieldsOf(btf, structId).map((field) => ({
      name: field.path,
      offset: field.offset,
      size: field.size,
      type: typeOf(field.typeId),
    }));
    events.push({ name, map, struct, size: type.size, fields });
  }
  return events;
}

function coreRows(spec: ObjectSpec, btf: Btf): Inspection['coreRelocations'] {
  const types = Types.of(btf);
  return (spec.btfExt?.coreRelos ?? []).flatMap(({ sectionName, relos }) =>
    relos.map((relo) => ({
      section: sectionName,
      insn: relo.insnOffset / 8,
      kind: coreKindName(relo.kind),
      access: formatSpec(parseSpec(types, relo)),
    })),
  );
}

function targetText(target: RelocationTarget): string {
  switch (target.kind) {
    case 'map':
      return target.map;
    case 'map_value':
      return `${target.map}+${target.offset}`;
    case 'call':
    case 'func':
      return target.symbol === '' ? `section ${target.sectionIndex}+${target.offset}` : target.symbol;
    case 'extern_var':
    case 'extern_call':
      return target.extern;
    case 'undefined':
      return target.symbol;
    case 'insn_array':
      return `.jumptables+${target.offset}`;
    default:
      return '';
  }
}
