import { Btf } from '../../../btf/btf.ts';
import { infoWord } from '../../../btf/encode.ts';
import { referencedId, skipModifiers, skipModifiersAndTypedefs } from '../../../btf/resolve.ts';
import { BtfRewrite } from '../../../btf/rewrite.ts';
import { BTF_KIND, BTF_LINKAGE, type BtfFuncProto } from '../../../btf/types.ts';
import { BPF_PROG_TYPE } from '../../uapi/index.ts';
import type { InfoRecords } from '../linked.ts';
import type { ProgramSpec } from '../spec.ts';

/** The struct that the verifier takes a program's context for, by program type (kernel/bpf/btf.c: find_canonical_prog_ctx_type). */
const contextNames: ReadonlyMap<number, string> = new Map([
  [BPF_PROG_TYPE.BPF_PROG_TYPE_CGROUP_DEVICE, 'bpf_cgroup_dev_ctx'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_CGROUP_SKB, '__sk_buff'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_CGROUP_SOCK, 'bpf_sock'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, 'bpf_sock_addr'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_CGROUP_SOCKOPT, 'bpf_sockopt'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_CGROUP_SYSCTL, 'bpf_sysctl'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_FLOW_DISSECTOR, '__sk_buff'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_KPROBE, 'bpf_user_pt_regs_t'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_LWT_IN, '__sk_buff'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_LWT_OUT, '__sk_buff'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_LWT_SEG6LOCAL, '__sk_buff'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_LWT_XMIT, '__sk_buff'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_NETFILTER, 'bpf_nf_ctx'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_PERF_EVENT, 'bpf_perf_event_data'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_RAW_TRACEPOINT, 'bpf_raw_tracepoint_args'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE, 'bpf_raw_tracepoint_args'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_SCHED_ACT, '__sk_buff'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_SCHED_CLS, '__sk_buff'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_SK_LOOKUP, 'bpf_sk_lookup'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_SK_MSG, 'sk_msg_md'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_SK_REUSEPORT, 'sk_reuseport_md'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_SK_SKB, '__sk_buff'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_SOCK_OPS, 'bpf_sock_ops'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_SOCKET_FILTER, '__sk_buff'],
  [BPF_PROG_TYPE.BPF_PROG_TYPE_XDP, 'xdp_md'],
]);

const tagName = 'arg:ctx';
/** Word of the first parameter in a FUNC_PROTO; each has two, its name and its type. */
const firstParam = 3;

/**
 * For kernels that do not know the tag `arg:ctx` (before 6.8): a global function whose parameter has it gets, for each program that calls
 * it, a declaration in which the parameter is the context that this program's type has. Types are appended to the object's BTF,
 * func_info is made to point to them.
 */
export class ContextArguments {
  readonly #btf: Btf;
  readonly #tags: readonly { readonly functionId: number; readonly argument: number }[];
  #rewrite: BtfRewrite | null = null;
  #rewritten: Btf | null = null;

  constructor(btf: Btf) {
    this.#btf = btf;
    const tags: { functionId: number; argument: number }[] = [];
    for (const id of btf.findAll(tagName)) {
      const type = btf.type(id);
      if (type.kind === 'DECL_TAG' && type.componentIndex >= 0) tags.push({ functionId: type.typeId, argument: type.componentIndex });
    }
    this.#tags = tags;
  }

  /** The object's BTF with what was appended for the programs up to now. */
  get btf(): Btf {
    if (this.#rewrite === null) return this.#btf;
    return (this.#rewritten ??= Btf.parse(this.#rewrite.encode({ layout: true }), { name: '.BTF' }));
  }

  /** A program's func_info with the functions it needs; the same where it needs none. */
  fix(program: ProgramSpec, funcInfo: InfoRecords, supported: () => boolean): InfoRecords {
    const contextName = contextNames.get(program.type);
    if (this.#tags.length === 0 || contextName === undefined || funcInfo.count === 0 || supported()) return funcInfo;
    const bytes = funcInfo.bytes.slice();
    const view = new DataView(bytes.buffer);
    /** Record by the function it was about at first. */
    const records = new Map<number, number>();
    for (let i = funcInfo.count - 1; i >= 0; i--) records.set(view.getUint32(i * funcInfo.recordSize + 4, true), i);
    for (const [functionId, { proto, arguments: indices }] of this.#functionsToFix(program, records, contextName)) {
      const rewrite = (this.#rewrite ??= new BtfRewrite(this.#btf));
      this.#rewritten = null;
      const cloneId = this.#clone(rewrite, functionId, proto, indices, this.#contextPointer(rewrite, contextName));
      for (const index of indices) rewrite.addType([rewrite.addString(tagName), infoWord(BTF_KIND.DECL_TAG, 0), cloneId, index]);
      view.setUint32((records.get(functionId) as number) * funcInfo.recordSize + 4, cloneId, true);
    }
    return { ...funcInfo, bytes };
  }

  /** Functions of the program with the arguments whose type has to be another. */
  #functionsToFix(
    program: ProgramSpec,
    records: ReadonlyMap<number, number>,
    contextName: string,
  ): Map<number, { proto: BtfFuncProto; arguments: number[] }> {
    const functions = new Map<number, { proto: BtfFuncProto; arguments: number[] }>();
    for (const { functionId, argument } of this.#tags) {
      const proto = records.has(functionId) ? this.#globalProto(functionId) : null;
      const param = proto?.params[argument];
      if (proto === null || param === undefined || !this.#needsFix(program, param.typeId, contextName)) continue;
      const known = functions.get(functionId);
      if (known === undefined) functions.set(functionId, { proto, arguments: [argument] });
      else known.arguments.push(argument);
    }
    return functions;
  }

  #globalProto(functionId: number): BtfFuncProto | null {
    const fn = this.#btf.type(functionId);
    if (fn.kind !== 'FUNC' || fn.linkage !== BTF_LINKAGE.GLOBAL) return null;
    const proto = this.#btf.type(fn.typeId);
    return proto.kind === 'FUNC_PROTO' ? proto : null;
  }

  #clone(rewrite: BtfRewrite, functionId: number, proto: BtfFuncProto, indices: readonly number[], pointerId: number): number {
    const words = [0, infoWord(BTF_KIND.FUNC_PROTO, proto.params.length), proto.returnTypeId];
    proto.params.forEach(({ typeId }, i) =>
      words.push(rewrite.word(proto.id, firstParam + i * 2), indices.includes(i) ? pointerId : typeId),
    );
    const protoId = rewrite.addType(words);
    return rewrite.addType([rewrite.word(functionId, 0), rewrite.word(functionId, 1), protoId]);
  }

  #contextPointer(rewrite: BtfRewrite, name: string): number {
    const structId = rewrite.addType([rewrite.addString(name), infoWord(BTF_KIND.STRUCT, 0), 0]);
    return rewrite.addType([0, infoWord(BTF_KIND.PTR, 0), structId]);
  }

  /** Whether the parameter is declared as something that stands for the context, but not as the verifier wants it. */
  #needsFix({ type: programType }: ProgramSpec, typeId: number, contextName: string): boolean {
    const btf = this.#btf;
    const pointer = btf.type(skipModifiersAndTypedefs(btf, typeId));
    if (pointer.kind !== 'PTR') return false;
    const traced = programType === BPF_PROG_TYPE.BPF_PROG_TYPE_KPROBE || programType === BPF_PROG_TYPE.BPF_PROG_TYPE_PERF_EVENT;
    const named = btf.type(skipModifiers(btf, referencedId(btf, pointer.id)));
    if (traced && named.kind === 'TYPEDEF' && named.name === 'bpf_user_pt_regs_t') return false;
    const target = btf.type(skipModifiersAndTypedefs(btf, pointer.typeId));
    if (target.kind === 'UNKN') return true;
    if (target.kind === 'STRUCT' && target.name === contextName) return false;
    switch (programType) {
      case BPF_PROG_TYPE.BPF_PROG_TYPE_KPROBE:
        return target.kind === 'STRUCT' && target.name === 'pt_regs';
      case BPF_PROG_TYPE.BPF_PROG_TYPE_PERF_EVENT:
        // bpf_user_pt_regs_t is struct pt_regs on x86 and struct user_pt_regs on arm64.
        return target.kind === 'STRUCT' && (target.name === 'pt_regs' || target.name === 'user_pt_regs');
      case BPF_PROG_TYPE.BPF_PROG_TYPE_RAW_TRACEPOINT:
      case BPF_PROG_TYPE.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE:
        return target.kind === 'INT' && target.size === 8;
      default:
        return false;
    }
  }
}
