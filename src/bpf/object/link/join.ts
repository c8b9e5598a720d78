import { BTF_KIND } from '../../../btf/types.ts';
import { STB } from '../../../elf/constants.ts';
import { InsnSlots } from '../../insn/insn.ts';
import { BPF_OPCODE } from '../../insn/opcodes.ts';
import { BPF_PSEUDO } from '../../uapi/index.ts';
import { functionAt, isHidden } from '../functions.ts';
import type { CodeSection, FunctionSymbol, InsnRelocation, ObjectSpec, ProgramSpec } from '../spec.ts';
import type { FunctionBodies, FunctionBody } from './bodies.ts';
import { LinkError, placeOf } from './error.ts';

/** A function within a joined program. */
export interface JoinedFunction extends FunctionBody {
  /** Its first slot in the program. */
  readonly at: number;
}

/** A program with all subprograms it can reach behind it. */
export interface JoinedProgram {
  readonly slots: InsnSlots;
  /** The program itself, then its subprograms in the order they were met. */
  readonly functions: readonly JoinedFunction[];
}

/** The kernel refuses programs of more than a million instructions; four times that bounds the work on hostile objects. */
const maxInsns = 4_000_000;

/**
 * Joins a program and its subprograms as libbpf does: instructions are walked in order, a function is appended when first
 * referred to and walked at once, depth first; calls and function addresses become relative to their new places.
 */
export function joinProgram(spec: ObjectSpec, program: ProgramSpec, bodies: FunctionBodies): JoinedProgram {
  const join = new Join(spec, program, bodies);
  join.walk();
  const callback = exceptionCallback(spec, program);
  if (callback !== null && !join.has(callback.fn)) {
    join.append(callback.section, callback.fn);
    join.walk();
  }
  return join.finish();
}

interface Reference {
  /** Slot of the call or ldimm64. */
  readonly at: number;
  readonly fn: FunctionSymbol;
}

/** A function being walked. */
interface Walk {
  readonly joined: JoinedFunction;
  readonly slots: InsnSlots;
  insn: number;
  /** The next relocation of its section to look at. */
  relocation: number;
}

class Join {
  readonly #spec: ObjectSpec;
  readonly #program: ProgramSpec;
  readonly #bodies: FunctionBodies;
  readonly #functions: JoinedFunction[] = [];
  readonly #byFunction = new Map<FunctionSymbol, JoinedFunction>();
  readonly #references: Reference[] = [];
  // A stack of our own: a chain of calls in a hostile object may be longer than JavaScript's.
  readonly #walks: Walk[] = [];
  #count = 0;

  constructor(spec: ObjectSpec, program: ProgramSpec, bodies: FunctionBodies) {
    this.#spec = spec;
    this.#program = program;
    this.#bodies = bodies;
    const section = spec.code.get(program.sectionIndex);
    const fn = section?.functions.find(({ insn, name }) => insn === program.sectionInsn && name === program.name);
    if (section === undefined || fn === undefined) throw this.#error('E_LINK_PROGRAM', 'the program is not one of this object');
    this.append(section, fn);
  }

  has(fn: FunctionSymbol): boolean {
    return this.#byFunction.has(fn);
  }

  append(section: CodeSection, fn: FunctionSymbol): void {
    const body = this.#bodies.of(section, fn);
    if (body.error !== null) throw body.error;
    const joined = { ...body, at: this.#count };
    this.#count += fn.insnCount;
    if (this.#count > maxInsns) throw this.#error('E_LINK_SIZE', `the program and its subprograms have more than ${maxInsns} instructions`);
    this.#functions.push(joined);
    this.#byFunction.set(fn, joined);
    this.#walks.push({ joined, slots: new InsnSlots(body.insns), insn: 0, relocation: firstRelocation(section.relocations, fn.insn) });
  }

  walk(): void {
    for (let walk = this.#walks.at(-1); walk !== undefined; walk = this.#walks.at(-1)) {
      const { joined, slots } = walk;
      const insn = nextReference(slots, walk.insn);
      if (insn >= slots.count) {
        this.#walks.pop();
        continue;
      }
      walk.insn = insn + 1;
      const target = this.#target(walk, insn, slots.code(insn));
      if (target === null) continue;
      this.#references.push({ at: joined.at + insn, fn: target.fn });
      if (!this.#byFunction.has(target.fn)) this.append(target.section, target.fn);
    }
  }

  finish(): JoinedProgram {
    const bytes = new Uint8Array(this.#count * 8);
    for (const { at, insns } of this.#functions) bytes.set(insns, at * 8);
    const slots = new InsnSlots(bytes);
    for (const { at, fn } of this.#references) {
      const joined = this.#byFunction.get(fn) as JoinedFunction;
      slots.setImm(at, joined.at - at - 1);
      if (slots.code(at) === BPF_OPCODE.LDIMM64) slots.setSrc(at, BPF_PSEUDO.BPF_PSEUDO_FUNC);
    }
    return { slots, functions: this.#functions };
  }

  /** The function that an instruction calls or takes the address of; null where it does neither. */
  #target(walk: Walk, insn: number, code: number): { section: CodeSection; fn: FunctionSymbol } | null {
    const { joined, slots } = walk;
    const { section, fn } = joined;
    const inSection = fn.insn + insn;
    const { relocations } = section;
    while ((relocations[walk.relocation]?.insn ?? Infinity) < inSection) walk.relocation++;
    const relocation = relocations[walk.relocation];
    const target = relocation?.insn === inSection ? relocation.target : null;
    if (code === BPF_OPCODE.LDIMM64) {
      return target?.kind === 'func' ? this.#find(joined, inSection, target.sectionIndex, target.offset, target.symbol) : null;
    }
    if (slots.src(insn) !== BPF_PSEUDO.BPF_PSEUDO_CALL || slots.dst(insn) !== 0 || slots.off(insn) !== 0) return null;
    if (target === null) {
      // Both functions are in one section: imm is right as it is. libbpf looks for all of them in .text.
      const sectionIndex = this.#spec.strict ? this.#spec.textIndex : section.index;
      return this.#find(joined, inSection, sectionIndex, (inSection + slots.imm(insn) + 1) * 8, '');
    }
    if (target.kind === 'extern_call' || target.kind === 'undefined') return null;
    if (target.kind === 'call') return this.#find(joined, inSection, target.sectionIndex, target.offset, target.symbol);
    throw this.#error('E_LINK_CALL', `the call has a relocation of kind ${target.kind}`, inSection);
  }

  #find(
    caller: JoinedFunction,
    insn: number,
    sectionIndex: number,
    offset: number,
    symbol: string,
  ): { section: CodeSection; fn: FunctionSymbol } {
    const section = this.#spec.code.get(sectionIndex);
    const fn = section === undefined ? null : functionAt(section.functions, Math.floor(offset / 8));
    if (section !== undefined && fn !== null) return { section, fn };
    const called = symbol === '' ? '' : ` (symbol ${symbol})`;
    throw this.#error('E_LINK_CALL', `function ${caller.fn.name} calls code that no function holds${called}`, insn);
  }

  #error(code: string, why: string, insn?: number): LinkError {
    return new LinkError({ code, what: 'cannot join the program and its subprograms', where: placeOf(this.#program, insn), why });
  }
}

/** The next instruction that may refer to a function: most are none, so this looks at opcodes alone. */
function nextReference({ bytes }: InsnSlots, from: number): number {
  let at = from * 8;
  while (at < bytes.length && bytes[at] !== BPF_OPCODE.CALL && bytes[at] !== BPF_OPCODE.LDIMM64) at += 8;
  return at / 8;
}

function firstRelocation(relocations: readonly InsnRelocation[], insn: number): number {
  let low = 0;
  let high = relocations.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((relocations[middle] as InsnRelocation).insn < insn) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Relocations of a function, with their slot in the joined program. */
export function* relocationsIn(joined: JoinedFunction): Generator<{ readonly at: number; readonly relocation: InsnRelocation }> {
  const { section, fn, at } = joined;
  for (let i = firstRelocation(section.relocations, fn.insn); i < section.relocations.length; i++) {
    const relocation = section.relocations[i] as InsnRelocation;
    if (relocation.insn >= fn.insn + fn.insnCount) return;
    yield { at: at + relocation.insn - fn.insn, relocation };
  }
}

const callbackTag = 'exception_callback:';

/** The function that bpf_throw() goes to, named by a decl tag on the program's function. */
function exceptionCallback(spec: ObjectSpec, program: ProgramSpec): { section: CodeSection; fn: FunctionSymbol } | null {
  const { btf } = spec;
  if (btf === null) return null;
  const tags = tagsOf(spec);
  // Hardly any object has one, and names need an index.
  if (tags.size === 0) return null;
  const names: string[] = [];
  for (const id of btf.findAll(program.name)) if (btf.type(id).kind === 'FUNC') names.push(...(tags.get(id) ?? []));
  // Of several callbacks none counts: the verifier will say so.
  const [name, second] = names;
  if (name === undefined || second !== undefined) return null;
  const fail = (why: string): LinkError =>
    new LinkError({
      code: 'E_LINK_EXCEPTION',
      what: 'cannot use an exception callback',
      where: { ...placeOf(program), callback: name },
      why,
    });
  if (name === '') throw fail('its name is empty');
  const section = spec.code.get(spec.textIndex);
  const fn = section?.functions.find((candidate) => candidate.name === name);
  if (section === undefined || fn === undefined) throw fail('there is no such function in .text');
  if (fn.binding === STB.LOCAL || isHidden(fn)) throw fail('it has to be global and not hidden');
  return { section, fn };
}

const tagCache = new WeakMap<ObjectSpec, ReadonlyMap<number, readonly string[]>>();

/** The names of exception callbacks by the BTF id of the function they are for. */
function tagsOf(spec: ObjectSpec): ReadonlyMap<number, readonly string[]> {
  const known = tagCache.get(spec);
  if (known !== undefined) return known;
  const tags = new Map<number, string[]>();
  tagCache.set(spec, tags);
  const { btf } = spec;
  if (btf === null) return tags;
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    if (btf.kindOf(id) !== BTF_KIND.DECL_TAG) continue;
    const type = btf.type(id);
    if (type.kind !== 'DECL_TAG' || type.componentIndex !== -1 || !type.name.startsWith(callbackTag)) continue;
    const list = tags.get(type.typeId) ?? [];
    list.push(type.name.slice(callbackTag.length));
    tags.set(type.typeId, list);
  }
  return tags;
}
