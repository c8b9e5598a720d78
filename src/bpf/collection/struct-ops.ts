import { bpf, bpfError } from '../../sys/bpf.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { type BpfLink, KernelLink } from '../link/link.ts';
import type { BpfMap } from '../map/map.ts';
import type { LinkedStructOps } from '../object/linked.ts';
import type { BpfProgram } from '../program/program.ts';

/** A struct_ops of an object: programs that implement a structure of kernel functions. */
export class StructOps {
  /** Name of the variable. */
  readonly name: string;
  readonly map: BpfMap;
  readonly #value: Uint8Array;

  /** `programs` are the loaded ones by name; functions whose program is not loaded stay the kernel's default. */
  constructor(map: BpfMap, linked: LinkedStructOps, programs: ReadonlyMap<string, BpfProgram>) {
    this.name = linked.map;
    this.map = map;
    this.#value = linked.data.slice();
    const view = new DataView(this.#value.buffer);
    for (const { offset, program } of linked.programs) {
      const loaded = programs.get(program);
      if (loaded !== undefined) view.setBigUint64(offset, BigInt(loaded.fd), true);
    }
  }

  /** Registers it with the kernel. With BPF_F_LINK the link unregisters it; else closing the link deletes the map's element. */
  register(): BpfLink {
    const { kernel } = this.map;
    this.map.update(new Uint8Array(4), this.#value);
    const names = { kind: 'struct_ops', target: this.name } as const;
    if ((this.map.flags & BPF_F.BPF_F_LINK) === 0) return new StructOpsRegistration(this.map, this.name);
    const fd = bpf(kernel.sys, 'BPF_LINK_CREATE', { map_fd: this.map.fd, attach_type: BPF_ATTACH_TYPE.BPF_STRUCT_OPS });
    if (fd < 0) throw bpfError(kernel.sys, 'BPF_LINK_CREATE', fd, { what: 'cannot register struct_ops', where: { map: this.name } });
    kernel.trace({ step: 'attach', program: this.name, kind: 'struct_ops', target: this.name });
    return new KernelLink(kernel, fd, null, names);
  }
}

/** The older way: the map's element is the registration. */
class StructOpsRegistration implements BpfLink {
  readonly program = null;
  readonly kind = 'struct_ops' as const;
  readonly target: string;
  readonly #map: BpfMap;
  #closed = false;

  constructor(map: BpfMap, target: string) {
    this.#map = map;
    this.target = target;
  }

  get closed(): boolean {
    return this.#closed;
  }

  info(): null {
    return null;
  }

  update(): never {
    throw bpfError(this.#map.kernel.sys, 'BPF_LINK_UPDATE', -95, {
      what: 'struct_ops without BPF_F_LINK cannot be updated',
      where: { map: this.target },
    });
  }

  pin(path: string): void {
    // The map holds the registration.
    this.#map.pin(path);
  }

  detach(): void {
    this.close();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#map.closed) this.#map.delete(new Uint8Array(4));
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
