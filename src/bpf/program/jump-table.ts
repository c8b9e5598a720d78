import { createMap } from '../map/create.ts';
import type { BpfMap } from '../map/map.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { LinkedProgram } from '../object/linked.ts';
import { undoOnError } from '../undo.ts';

/** sizeof(struct bpf_insn_array_value): orig_off, xlated_off, jitted_off, padding. */
const valueSize = 16;

/** Makes the instruction arrays that a program jumps through (Linux 6.19), frozen as the verifier wants them; the caller closes them. */
export function createJumpTables(kernel: Kernel, linked: LinkedProgram): BpfMap[] {
  return undoOnError((undo) => linked.jumpTables.map((table) => fill(undo.own(newTable(kernel, table)), table)));
}

function newTable(kernel: Kernel, table: Uint32Array): BpfMap {
  return createMap(kernel, { name: '.jumptables', type: 'BPF_MAP_TYPE_INSN_ARRAY', keySize: 4, valueSize, maxEntries: table.length });
}

function fill(map: BpfMap, table: Uint32Array): BpfMap {
  table.forEach((slot, i) => {
    const key = new Uint8Array(4);
    new DataView(key.buffer).setUint32(0, i, true);
    const value = new Uint8Array(valueSize);
    new DataView(value.buffer).setUint32(0, slot, true);
    map.update(key, value);
  });
  map.freeze();
  return map;
}
