/** Functions that a just-in-time compiler says it has made. */
export class PerfMap {
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;
  readonly #names: readonly string[];

  private constructor(starts: Float64Array, ends: Float64Array, names: readonly string[]) {
    this.#starts = starts;
    this.#ends = ends;
    this.#names = names;
  }

  /**
   * Parses a perf-PID.map: lines of `START SIZE NAME`, numbers in hex. Of entries for one place the last counts, for
   * compilers use memory again. Source: the Linux kernel's tools/perf/Documentation/jit-interface.txt.
   */
  static parse(text: string): PerfMap {
    const byStart = new Map<number, { readonly end: number; readonly name: string }>();
    for (const line of text.split('\n')) {
      const match = /^(?:0x)?([0-9a-f]+) (?:0x)?([0-9a-f]+) (.+)$/i.exec(line);
      if (match === null) continue;
      const start = Number.parseInt(match[1] ?? '', 16);
      const end = start + Number.parseInt(match[2] ?? '', 16);
      if (Number.isSafeInteger(end) && end > start) byStart.set(start, { end, name: (match[3] ?? '').slice(0, 4096) });
    }
    const starts = Float64Array.from(byStart.keys()).toSorted();
    const entries = Array.from(starts, (start) => byStart.get(start));
    return new PerfMap(
      starts,
      Float64Array.from(entries, (entry) => entry?.end ?? 0),
      entries.map((entry) => entry?.name ?? ''),
    );
  }

  nameOf(address: number): string | null {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] as number) <= address) low = middle + 1;
      else high = middle;
    }
    return low > 0 && address < (this.#ends[low - 1] as number) ? (this.#names[low - 1] as string) : null;
  }
}
