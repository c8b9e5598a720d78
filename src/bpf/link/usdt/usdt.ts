import { toCString } from '../../../bytes/text.ts';
import type { BpfProgram } from '../../program/program.ts';
import { BPF_ATTACH_TYPE } from '../../uapi/attach-type.gen.ts';
import { type UndoList, undoOnError } from '../../undo.ts';
import { createLink } from '../create.ts';
import { type BpfLink, LinkGroup, type LinkNames } from '../link.ts';
import { ManagedLink } from '../managed.ts';
import { attachUprobeAt } from '../uprobe.ts';
import { addressesOf } from './addresses.ts';
import { findUsdtProbe, parseUsdtTarget, type UsdtProbe, type UsdtSite, type UsdtTarget } from './probes.ts';
import { type UsdtSpecs, usdtSpecsOf } from './specs.ts';

export interface UsdtOptions {
  /** One process; all, those to come too, unless said. */
  readonly pid?: number;
  /** What bpf_usdt_cookie() answers in the program. */
  readonly cookie?: bigint;
}

/**
 * Attaches a program to a USDT probe (`/usr/bin/python3:python:gc__start`), at every place where it was inlined. Arguments are
 * read by `bpf_usdt_arg()` of <bpf/usdt.bpf.h>. By one link where the kernel has them (Linux 6.6), else by a uprobe for each place.
 *
 * Throws E_BINARY or E_USDT, with suggestions, where there is no such file or probe; E_USDT_ARG where an argument's place
 * cannot be told to the program; E_USDT_PID where a kernel before 5.15 needs to know the process.
 *
 * @example
 * import { attachUsdt, type BpfLink, type BpfProgram } from 'rawbpf';
 * export function watchCollector(program: BpfProgram, pid: number): BpfLink {
 *   return attachUsdt(program, '/usr/bin/python3:python:gc__start', { pid });
 * }
 */
export function attachUsdt(program: BpfProgram, target: string | UsdtTarget, options: UsdtOptions = {}): BpfLink {
  const { kernel } = program;
  const wanted = typeof target === 'string' ? parseUsdtTarget(target) : target;
  const probe = findUsdtProbe(wanted, kernel.sys.arch, () => kernel.has('uprobe_syscall'));
  const names = { kind: 'usdt', target: `${wanted.path}:${wanted.provider}:${wanted.name}` } as const;
  const specs = usdtSpecsOf(program);
  return undoOnError((undo) => {
    const described = new Described(undo, specs, options.cookie ?? 0n);
    const cookies = probe.sites.map((site) => described.cookieOf(site));
    if (specs !== null && !kernel.has('bpf_cookie')) described.bindAddresses(probe, names, options.pid, cookies);
    const multi = program.expectedAttachType === BPF_ATTACH_TYPE.BPF_TRACE_UPROBE_MULTI;
    const links = multi
      ? [undo.own(attachMulti(program, probe, names, options.pid, cookies))]
      : probe.sites.map((site, i) => {
          const place = { path: probe.path, offset: site.offset, ret: false, refCtrOffset: site.semaphoreOffset };
          // Without cookies the address tells the specification.
          const cookie = kernel.has('bpf_cookie') ? cookies[i] : 0n;
          const pid = options.pid === undefined ? {} : { pid: options.pid };
          return undo.own(attachUprobeAt(program, names, { ...place, ...pid }, { cookie }));
        });
    const [only] = links;
    const all = only !== undefined && links.length === 1 ? only : new LinkGroup(program, names, links);
    return new ManagedLink(all, () => described.release());
  });
}

function attachMulti(program: BpfProgram, probe: UsdtProbe, names: LinkNames, pid = 0, cookies: readonly bigint[] = []): BpfLink {
  const { sites } = probe;
  return createLink(program, program.expectedAttachType, names, {
    'uprobe_multi.path': toCString(probe.path),
    'uprobe_multi.offsets': u64s(sites.map(({ offset }) => BigInt(offset))),
    'uprobe_multi.ref_ctr_offsets': u64s(sites.map(({ semaphoreOffset }) => BigInt(semaphoreOffset))),
    'uprobe_multi.cookies': u64s(cookies),
    'uprobe_multi.cnt': sites.length,
    'uprobe_multi.pid': pid,
  });
}

const u64s = (values: readonly bigint[]): Uint8Array => new Uint8Array(new BigUint64Array(values).buffer);

/** What one link has written into the maps of its program, to be given back with it. */
class Described {
  readonly #specs: UsdtSpecs | null;
  readonly #cookie: bigint;
  /** By the text of the arguments and the place it is relative to: most places of a probe differ in neither. */
  readonly #ids = new Map<string, number>();
  readonly #addresses: bigint[] = [];

  constructor(undo: UndoList, specs: UsdtSpecs | null, cookie: bigint) {
    this.#specs = specs;
    this.#cookie = cookie;
    undo.add(() => this.release());
  }

  /** The attach cookie of a place: its specification's number. A program that reads none gets the user's cookie. */
  cookieOf(site: UsdtSite): bigint {
    if (this.#specs === null) return this.#cookie;
    const key = site.text.includes('%rip') ? `${site.text} at ${site.location}` : site.text;
    let id = this.#ids.get(key);
    if (id === undefined) {
      id = this.#specs.take(site.args(), this.#cookie);
      this.#ids.set(key, id);
    }
    return BigInt(id);
  }

  /** Without cookies: the addresses at which a process stops. */
  bindAddresses(probe: UsdtProbe, names: LinkNames, pid: number | undefined, cookies: readonly bigint[]): void {
    for (const [i, site] of probe.sites.entries()) {
      for (const address of addressesOf(probe, site, names, pid)) {
        this.#specs?.bindAddress(address, Number(cookies[i]));
        this.#addresses.push(address);
      }
    }
  }

  release(): void {
    for (const address of this.#addresses.splice(0)) this.#specs?.unbindAddress(address);
    for (const id of this.#ids.values()) this.#specs?.giveBack(id);
    this.#ids.clear();
  }
}
