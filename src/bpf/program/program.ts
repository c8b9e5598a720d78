import type { ProgFd } from '../../sys/fds.ts';
import { ObjectFd } from '../fd.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { InfoRecords, LinkedProgram } from '../object/linked.ts';
import type { ProgramSpec } from '../object/spec.ts';
import { pinObject } from '../pin.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import { nameOf } from '../uapi/names.ts';
import { programInfo, type ProgramInfo, translatedInsns } from './info.ts';
import { testRun, type TestRunOptions, type TestRunResult } from './test-run.ts';

const noBytes = new Uint8Array(0);
const noRecords: InfoRecords = { recordSize: 0, count: 0, bytes: noBytes };

/** What a {@link BpfProgram} knows of itself. */
export interface ProgramShape {
  readonly name: string;
  /** BPF_PROG_TYPE_* number. */
  readonly type: number;
  /** The attach type it was loaded for; 0 where the type needs none. */
  readonly expectedAttachType: number;
  /** What the object says about it; null for a program opened by id or pin. */
  readonly spec: ProgramSpec | null;
  readonly linked: LinkedProgram | null;
  /** The verifier's log, where one was asked for. */
  readonly log: string;
}

/**
 * One BPF program in the kernel, held by a file descriptor. Closing it does not detach its links.
 *
 * @example
 * import type { BpfProgram } from 'rawbpf';
 * export function describe(program: BpfProgram): string {
 *   const info = program.info();
 *   return `${program.name}: id ${info.id}, tag ${info.tag}, ${info.verifiedInsns} instructions verified`;
 * }
 */
export class BpfProgram implements ProgramShape {
  readonly kernel: Kernel;
  readonly name: string;
  readonly type: number;
  readonly expectedAttachType: number;
  readonly spec: ProgramSpec | null;
  readonly log: string;
  #linked: LinkedProgram | null;
  readonly #owned: ObjectFd<'prog'>;

  /** Takes over a descriptor; {@link loadProgram}, {@link openProgramById} and {@link openPinnedProgram} are what users call. */
  constructor(kernel: Kernel, fd: number, shape: ProgramShape) {
    this.kernel = kernel;
    this.#owned = new ObjectFd(kernel.sys, fd, `program ${shape.name}`);
    this.name = shape.name;
    this.type = shape.type;
    this.expectedAttachType = shape.expectedAttachType;
    this.spec = shape.spec;
    this.#linked = shape.linked;
    this.log = shape.log;
  }

  /** The open descriptor; throws E_CLOSED after close(). */
  get fd(): ProgFd {
    return this.#owned.fd;
  }

  /** How it was linked; null where it was opened. */
  get linked(): LinkedProgram | null {
    return this.#linked;
  }

  /** Lets go of {@link linked} but for what attaching needs: relocations hold on to the object's types and the kernel's. */
  forgetLinking(): void {
    const { linked } = this;
    if (linked === null) return;
    const { spec, fixups, attachBtfId, attachBtfModule, attachError, expectedAttachType } = linked;
    const attach = { spec, fixups, attachBtfId, attachBtfModule, attachError, expectedAttachType };
    this.#linked = {
      ...attach,
      insns: noBytes,
      funcInfo: noRecords,
      lineInfo: noRecords,
      coreRelocations: [],
      jumpTables: [],
      functions: [],
    };
  }

  get closed(): boolean {
    return this.#owned.closed;
  }

  /** The kernel's name of the type: `BPF_PROG_TYPE_TRACEPOINT`. */
  get typeName(): string {
    return nameOf(BPF_PROG_TYPE, this.type) ?? `BPF_PROG_TYPE_${this.type}`;
  }

  info(): ProgramInfo {
    return programInfo(this.kernel.sys, this.fd);
  }

  /** The instructions as the verifier left them, 8 bytes each. */
  translatedInsns(): Uint8Array {
    return translatedInsns(this.kernel.sys, this.fd);
  }

  /** Runs the program without attaching it; not every type can be. */
  testRun(options: TestRunOptions = {}): TestRunResult {
    return testRun(this, options);
  }

  /** Makes the program last beyond this process under a path in a BPF file system. */
  pin(path: string): void {
    pinObject(this.kernel, this.fd, path);
  }

  close(): void {
    this.#owned.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
