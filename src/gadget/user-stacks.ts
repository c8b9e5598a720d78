import { toHex } from '../bytes/text.ts';
import type { BpfMap } from '../bpf/map/map.ts';
import { inInitialNamespace, namespaceInode } from '../sys/namespaces.ts';
import type { StackOwner } from './symbols/stack-owner.ts';
import { Symbolizer } from './symbols/symbolizer.ts';

/** The maps that gadget_get_user_stack() keeps stacks in: addresses, and build ids. */
export const userStackMap = 'ig_ustack';
export const buildIdMap = 'ig_build_id';
/** Stacks that are kept; the kernel keeps no more. */
const maxKept = 10_000;

/** What an event says of a stack: the members of struct gadget_user_stack that matter here. */
export interface UserStackPlace {
  readonly stackId: number;
  /** Of the executable; 0 where no stack was taken. */
  readonly inode: bigint;
  readonly mtimeSeconds: bigint;
  readonly baseAddrHash: number;
  readonly tgid: number;
  readonly tid: number;
  readonly tidLevel1: number;
  readonly pidnsLevel1: number;
  readonly bootTimestamp: bigint;
}

/** Where an address lies in a file. */
interface FilePlace {
  readonly buildId: string;
  readonly offset: bigint;
}

/** struct bpf_stack_build_id: status, 20 bytes of build id, offset in the file or address (include/uapi/linux/bpf.h). */
const buildIdSize = 32;
const BPF_STACK_BUILD_ID_VALID = 1;
const BPF_STACK_BUILD_ID_IP = 2;

/** Texts of a running gadget's stacks of user space. Files are read when the first stack is asked for, each once. */
export class UserStacks {
  #stacks: BpfMap | null = null;
  #buildIds: BpfMap | null = null;
  #symbolizer: Symbolizer | null = null;
  readonly #texts = new Map<string, string>();
  #pidIsOurs: { readonly initial: boolean; readonly inode: number } | null = null;

  /** For a run: where the stacks are from now on; nulls when it has ended. */
  bind(stacks: BpfMap | null, buildIds: BpfMap | null): void {
    this.#stacks = stacks;
    this.#buildIds = buildIds;
    this.#texts.clear();
    if (stacks === null) this.#symbolizer = null;
  }

  /** Functions from the innermost outwards, `a; b; c`, `[unknown]` for those without a name; nothing where there is no stack. */
  symbols(place: UserStackPlace): string {
    const key = `${place.tgid}:${place.baseAddrHash}:${place.stackId}`;
    const kept = this.#texts.get(key);
    if (kept !== undefined) return kept;
    const names = this.#names(place);
    const text = names.map((name) => name ?? '[unknown]').join('; ');
    // A name may be found later: compilers write theirs down after the first call.
    if (names.includes(null)) return text;
    if (this.#texts.size >= maxKept) this.#texts.clear();
    this.#texts.set(key, text);
    return text;
  }

  /** `0x0000555555555139; ...`, innermost first. */
  addresses(place: UserStackPlace): string {
    return this.#addresses(place)
      .map((address) => `0x${address.toString(16).padStart(16, '0')}`)
      .join('; ');
  }

  /** `BUILD-ID +OFFSET; ...`, or the address where its file has no build id; nothing unless build ids are collected. */
  buildIds(place: UserStackPlace): string {
    return this.#places(place)
      .map((found) =>
        typeof found === 'bigint' ? `0x${found.toString(16).padStart(16, '0')}` : `${found.buildId} +${found.offset.toString(16)}`,
      )
      .join('; ');
  }

  #names(place: UserStackPlace): readonly (string | null)[] {
    const addresses = this.#addresses(place);
    const owner = this.#owner(place);
    this.#symbolizer ??= new Symbolizer();
    const symbolizer = this.#symbolizer;
    const names = owner === null ? addresses.map(() => null) : symbolizer.namesOf(owner, addresses);
    if (!names.includes(null)) return names;
    // The process has gone, or ours is not its /proc.
    const places = this.#places(place);
    return names.map((name, depth) => {
      const found = places[depth];
      return name ?? (found === undefined || typeof found === 'bigint' ? null : symbolizer.nameInFile(found.buildId, found.offset, depth));
    });
  }

  #addresses({ stackId, inode }: UserStackPlace): readonly bigint[] {
    const stack = inode === 0n ? null : lookup(this.#stacks, stackId);
    if (stack === null) return [];
    const view = new DataView(stack.buffer, stack.byteOffset, stack.byteLength);
    const addresses: bigint[] = [];
    for (let at = 0; at + 8 <= stack.length; at += 8) {
      const address = view.getBigUint64(at, true);
      if (address === 0n) break;
      addresses.push(address);
    }
    return addresses;
  }

  #places({ stackId, inode }: UserStackPlace): readonly (FilePlace | bigint)[] {
    const entries = inode === 0n ? null : lookup(this.#buildIds, stackId);
    if (entries === null) return [];
    const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
    const places: (FilePlace | bigint)[] = [];
    for (let at = 0; at + buildIdSize <= entries.length; at += buildIdSize) {
      const status = view.getInt32(at, true);
      const offset = view.getBigUint64(at + 24, true);
      if (status === BPF_STACK_BUILD_ID_VALID) places.push({ buildId: toHex(entries.subarray(at + 4, at + 24)), offset });
      else if (status === BPF_STACK_BUILD_ID_IP) places.push(offset);
      else break;
    }
    return places;
  }

  /** The process in our /proc; null where that is another pid namespace's that cannot see it. */
  #owner(place: UserStackPlace): StackOwner | null {
    this.#pidIsOurs ??= { initial: inInitialNamespace('pid') ?? true, inode: namespaceInode('self', 'pid') ?? 0 };
    const { initial, inode } = this.#pidIsOurs;
    if (!initial && place.pidnsLevel1 !== inode) return null;
    const [pid, tid] = initial ? [place.tgid, place.tid] : [place.tidLevel1, place.tidLevel1];
    return {
      key: `${place.tgid}:${place.baseAddrHash}`,
      pid,
      tid,
      exe: { inode: place.inode, mtimeSeconds: place.mtimeSeconds },
      bornBefore: place.bootTimestamp === 0n ? null : place.bootTimestamp,
    };
  }
}

/** Null for a negative error of bpf_get_stackid(), and for what is not there. */
function lookup(map: BpfMap | null, id: number): Uint8Array | null {
  if (map === null || id >= 0x80000000) return null;
  const key = new Uint8Array(4);
  new DataView(key.buffer).setUint32(0, id, true);
  return map.lookup(key);
}
