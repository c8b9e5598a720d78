import { openObject } from '../bpf/object/open.ts';
import type { ObjectSpec } from '../bpf/object/spec.ts';
import type { EventContext } from './context.ts';
import { discoverGadget, type GadgetContract } from './contract.ts';
import { buildDataSource, type DataSource, type SourceKind } from './data-source.ts';
import { KernelStacks } from './kernel-stacks.ts';
import { UserStacks } from './user-stacks.ts';
import { noMetadata, type GadgetMetadata } from './metadata.ts';
import { GadgetParams } from './params.ts';
import { printable } from '../bytes/printable.ts';

/** What {@link openGadget} opens. */
export interface GadgetParts {
  /** The compiled object, or its spec. */
  readonly object: Uint8Array | ObjectSpec;
  /** A name for messages; gadget.yaml's, or the object's, unless said. */
  readonly name?: string;
  readonly metadata?: GadgetMetadata;
  readonly context: EventContext;
  /** Told what is left out and what in gadget.yaml fits nothing. */
  readonly notice?: (message: string) => void;
}

/** A gadget before it is loaded: what it declares, what can be set, and how its events look. */
export interface Gadget {
  readonly name: string;
  readonly spec: ObjectSpec;
  readonly contract: GadgetContract;
  readonly metadata: GadgetMetadata;
  readonly params: GadgetParams;
  readonly stacks: KernelStacks;
  readonly userStacks: UserStacks;
  /** Tracers first, then iterators, then maps. */
  readonly sources: readonly DataSource[];
}

interface SourceTypes {
  readonly name: string;
  readonly typeId: number;
  readonly keyTypeId?: number;
  readonly perCpu?: boolean;
}

/**
 * Opens a gadget without asking the kernel for anything: for help and for {@link GadgetRun}.
 *
 * Throws FormatError `E_ELF_...`, `E_BTF_...` or `E_GADGET_...` for a broken object or declaration.
 */
export function openGadget(parts: GadgetParts): Gadget {
  // Names of the object's are part of what is told.
  const notice = (message: string): void => parts.notice?.(printable(message));
  const spec =
    parts.object instanceof Uint8Array ? openObject(parts.object, parts.name === undefined ? {} : { name: parts.name }) : parts.object;
  const contract = discoverGadget(spec);
  const metadata = parts.metadata ?? noMetadata;
  for (const message of [...contract.notices, ...metadata.notices]) notice(message);
  const params = new GadgetParams(spec, contract, metadata);
  checkMetadata(spec, metadata, contract, notice);
  const stacks = new KernelStacks();
  const userStacks = new UserStacks();
  const source = (kind: SourceKind, { name, typeId, keyTypeId, perCpu }: SourceTypes): DataSource =>
    buildDataSource({
      name,
      kind,
      btf: contract.btf,
      typeId,
      ...(keyTypeId === undefined ? {} : { keyTypeId }),
      perCpu: perCpu === true,
      context: parts.context,
      stacks,
      userStacks,
      annotations: metadata.datasources.get(name) ?? null,
      notice,
    });
  return {
    name: parts.name ?? (metadata.name || spec.name),
    spec,
    contract,
    metadata,
    params,
    stacks,
    userStacks,
    sources: [
      ...contract.tracers.map((tracer) => source('tracer', tracer)),
      ...contract.iterators.map((iterator) => source('iterator', iterator)),
      ...contract.mapIterators.map(({ name, keyTypeId, valueTypeId, perCpu }) =>
        source('mapiter', { name, typeId: valueTypeId, keyTypeId, perCpu }),
      ),
    ],
  };
}

/** Names in gadget.yaml that the object does not have are mistakes worth telling. */
function checkMetadata(spec: ObjectSpec, metadata: GadgetMetadata, contract: GadgetContract, notice: (message: string) => void): void {
  const sources = new Set([...contract.tracers, ...contract.iterators, ...contract.mapIterators].map(({ name }) => name));
  for (const name of metadata.datasources.keys()) {
    if (!sources.has(name)) notice(`gadget.yaml describes the data source ${name}, which the object does not have`);
  }
  const params = new Set(contract.params.map(({ variable }) => variable.name));
  for (const name of metadata.params.keys()) {
    if (!params.has(name)) notice(`gadget.yaml describes the parameter ${name}, which the object does not have`);
  }
  for (const name of metadata.programs.keys()) {
    // Programs for perf events go by the name in their section.
    const isThere = spec.programs.some(
      (program) => program.name === name || program.attachTo === name || program.sectionName.endsWith(`/${name}`),
    );
    if (!isThere) notice(`gadget.yaml describes the program ${name}, which the object does not have`);
  }
}
