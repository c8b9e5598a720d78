import type { Kernel } from '../../bpf/kernel/kernel.ts';
import type { BpfMap } from '../../bpf/map/map.ts';
import { VerifierError } from '../../bpf/verifier/error.ts';
import { GADGET_NAMES } from '../../gadget/contract.ts';
import type { Gadget } from '../../gadget/gadget.ts';
import type { PartLoad, RunPart } from '../../gadget/part.ts';
import { SocketEnricher, type SocketEnricherOptions } from './enricher.ts';
import { fieldsWanted, socketLayout } from './layout.ts';

/** The finer map of include/gadget/sockets-map.h. */
const flowsMap = 'gadget_socket_flows';

interface Shared {
  readonly enricher: SocketEnricher;
  users: number;
}

/** One enricher for all runs on the same kernel. */
const shared = new WeakMap<Kernel, Shared>();

/** Gives a gadget that asks for the process behind a socket the map with the answers; does nothing for any other. */
export class SocketPart implements RunPart {
  readonly #options: SocketEnricherOptions;
  #kernel: Kernel | null = null;

  constructor(options: SocketEnricherOptions = {}) {
    this.#options = options;
  }

  prepare(gadget: Gadget, kernel: Kernel): PartLoad {
    if (!gadget.contract.usesSockets) return {};
    let use = shared.get(kernel);
    if (use === undefined) {
      const enricher = this.#open(gadget, kernel);
      if (enricher === null) return withoutOwners(gadget);
      use = { enricher, users: 0 };
      shared.set(kernel, use);
    }
    use.users++;
    this.#kernel = kernel;
    const { enricher } = use;
    const maps: Record<string, BpfMap> = { [GADGET_NAMES.socketsMap]: enricher.sockets };
    if (gadget.spec.maps.some(({ name }) => name === flowsMap)) maps[flowsMap] = enricher.flows;
    const names = Object.keys(maps);
    return {
      maps,
      valueSizes: Object.fromEntries(names.map((name) => [name, enricher.layout.size])),
      mapSizes: Object.fromEntries(names.map((name) => [name, enricher.sockets.maxEntries])),
      targetBtfs: [enricher.layout.btf],
    };
  }

  /** Null, with a notice, where this kernel's verifier refuses the programs: packets are worth showing without their owners. */
  #open(gadget: Gadget, kernel: Kernel): SocketEnricher | null {
    try {
      return new SocketEnricher(kernel, { fields: fieldsWanted(gadget.spec), ...this.#options });
    } catch (error) {
      if (!(error instanceof VerifierError)) throw error;
      this.#options.notice?.(`whose sockets these are is not shown on this kernel: ${error.message}`);
      return null;
    }
  }

  close(): void {
    const kernel = this.#kernel;
    this.#kernel = null;
    const use = kernel === null ? undefined : shared.get(kernel);
    if (kernel === null || use === undefined || --use.users > 0) return;
    shared.delete(kernel);
    use.enricher.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** The gadget keeps its own maps, in which nothing is found. */
function withoutOwners(gadget: Gadget): PartLoad {
  const layout = socketLayout(fieldsWanted(gadget.spec));
  const names = [GADGET_NAMES.socketsMap, flowsMap].filter((name) => gadget.spec.maps.some((map) => map.name === name));
  return { valueSizes: Object.fromEntries(names.map((name) => [name, layout.size])), targetBtfs: [layout.btf] };
}
