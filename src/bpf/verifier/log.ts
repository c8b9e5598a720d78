/** What a verifier log says about the failure, taken apart; every part is null where the log does not tell. */
export interface VerifierFailure {
  /** The kernel's message on one line: `R0 !read_ok`. Empty only for an empty log. */
  readonly reason: string;
  /** The headline of the newer format: `Register Type Safety: Unreadable register`. */
  readonly headline: string | null;
  /** The newer format's own explanation, on one line. */
  readonly explanation: string | null;
  /** The newer format's own advice, on one line. */
  readonly suggestion: string | null;
  /** The newer format's account of how the state came to be, as printed. */
  readonly causalPath: string | null;
  /** Index of the instruction (in 8-byte slots) that was refused. */
  readonly insn: number | null;
  /** The instruction as the kernel printed it: `(95) exit`. */
  readonly insnText: string | null;
  /** The C line that the log printed above the instruction. */
  readonly source: LogSource | null;
  /** Register and stack state before the instruction, as far as printed: `R1` -> `ctx()`. */
  readonly registers: ReadonlyMap<string, string>;
  /** Names of the registers that the instruction or the reason mentions. */
  readonly involved: readonly string[];
  /** Instructions that the verifier walked through, from the statistics line. */
  readonly processed: number | null;
}

export interface LogSource {
  readonly text: string;
  readonly file: string | null;
  readonly line: number | null;
}

const insnLine = /^(\d+): \(([0-9a-f]{2})\) (.*)$/;
const stateLine = /^(?:from \d+ to )?(\d+)(?: \(speculative execution\))?: ?((?:frame\d+: ?)?(?:R\d|fp-).*)$/;
const bareStateLine = /^ ?(?:frame\d+: ?)?(?:R\d+(?:_[a-z]+)?(?:\([^)]*\))?=|fp-\d+)/;
const statistics = /^(?:processed (\d+) insns|verification time |stack depth |max_states_per_insn )/;
/** What precision tracking and state comparison print: about the walk, not about the failure. */
const chatter =
  /^(?:mark_precise: |regs=|last_idx |parent (?:state|didn't)|propagating |frame \d+: propagating|func#\d+ @|\d+: safe$|from \d+ to \d+: safe|safe$|caller:|callee:|returning from callee|to caller at |Validating |Func#\d+ |update_loop_entry|live regs before insn|Live regs before insn|\s*\d+: [0-9.]{10}|subprog#)/;
const section = /^(Verification failed|Reason|At|Causal path|Suggestion)(?::\s*(.*))?$/;

/**
 * Takes a verifier log apart, in the format of kernels up to 7.2 and in the one from 7.3 on.
 *
 * @example
 * import { parseVerifierLog } from 'rawbpf';
 * const failure = parseVerifierLog('0: R1=ctx() R10=fp0\n0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n');
 * console.log(failure.insn, failure.insnText, failure.reason); // 0 (95) exit R0 !read_ok
 */
export function parseVerifierLog(log: string): VerifierFailure {
  const blocks = new Map<string, string[]>();
  const walk: string[] = [];
  let processed: number | null = null;
  let block: string[] | null = null;
  // Some messages of the kernel lack their newline: `expected prog array map for tail callprocessed 3 insns (limit ...`.
  for (const line of log
    .replace(/\0+$/, '')
    .replace(/(?<=.)(?=processed \d+ insns \(limit )/g, '\n')
    .split('\n')) {
    const stats = statistics.exec(line);
    if (stats !== null) {
      if (stats[1] !== undefined) processed = Number(stats[1]);
      block = null;
      continue;
    }
    const head = section.exec(line);
    if (head !== null) {
      block = head[2] === undefined || head[2] === '' ? [] : [head[2]];
      blocks.set(head[1] as string, block);
    } else if (block !== null) {
      if (line.trim() !== '') block.push(line);
    } else if (line.trim() !== '') walk.push(line);
  }
  return { ...followWalk(walk, blocks), processed };
}

function followWalk(walk: readonly string[], blocks: ReadonlyMap<string, readonly string[]>): Omit<VerifierFailure, 'processed'> {
  const registers = new Map<string, string>();
  let before = new Map<string, string>();
  let insn: number | null = null;
  let insnText: string | null = null;
  let source: LogSource | null = null;
  let messages: string[] = [];
  for (const line of walk) {
    const code = insnLine.exec(line);
    if (code !== null) {
      const { text, state } = splitAnnotation(`(${code[2]}) ${code[3]}`);
      before = new Map(registers);
      insn = Number(code[1]);
      insnText = text;
      messages = [];
      if (state !== null) applyState(registers, state);
      continue;
    }
    if (line.startsWith(';')) {
      source = parseSource(line);
      continue;
    }
    const state = stateLine.exec(line);
    if (state !== null) {
      // A whole state is printed at a branch's start, so what was known of the other branch no longer holds.
      registers.clear();
      applyState(registers, state[2] as string);
      messages = [];
      continue;
    }
    if (bareStateLine.test(line) && !/^R\d+ /.test(line)) {
      applyState(registers, line);
      continue;
    }
    if (!chatter.test(line)) messages.push(line.trim());
  }
  const headline = joined(blocks.get('Verification failed'));
  const explanation = joined(blocks.get('Reason'));
  // Without an instruction (a BTF log, or a refusal before the walk) the message is at the end of a dump.
  const reason = (insn === null ? messages.slice(-2) : messages.slice(0, 4)).join('; ') || headline || '';
  const at = blocks.get('At')?.join('\n') ?? '';
  const named =
    /\binsn (\d+)/.exec(at) ?? /^\s*>>>\s*(\d+)\s*\|\s*\([0-9a-f]{2}\)/m.exec(at) ?? (insn === null ? /\binsn (\d+)/.exec(reason) : null);
  return {
    reason,
    headline,
    explanation,
    suggestion: joined(blocks.get('Suggestion')),
    causalPath: blocks.get('Causal path')?.join('\n') ?? null,
    insn: named === null ? insn : Number(named[1]),
    insnText: named !== null && Number(named[1]) !== insn ? contextInsn(blocks.get('At')) : insnText,
    source,
    registers: before,
    involved: mentioned(`${insnText ?? ''} ${reason}`),
  };
}

/** Splits `r0 = 0    ; R0_w=0` into instruction and the changed state (kernels since 5.17). */
function splitAnnotation(text: string): { text: string; state: string | null } {
  const at = text.search(/\s+; (?:frame\d+: ?)?(?:R\d|fp-)/);
  if (at < 0) return { text: text.trimEnd(), state: null };
  return { text: text.slice(0, at), state: text.slice(at).trimStart().slice(2) };
}

/** Reads `R1=ctx() R2_w=scalar(var_off=(0x0; 0xff)) fp-8=mmmmmmmm`; values hold spaces only within parentheses. */
function applyState(registers: Map<string, string>, state: string): void {
  const text = state.replace(/^\s*frame\d+:\s*/, '');
  let depth = 0;
  let start = 0;
  for (let i = 0; i <= text.length; i++) {
    const c = text[i];
    if (c === '(' || c === '{') depth++;
    else if (c === ')' || c === '}') depth--;
    else if (c === undefined || (c === ' ' && depth <= 0)) {
      const item = /^(R\d+|fp-\d+)(?:_[A-Za-z]+)?=(.*)$/.exec(text.slice(start, i));
      if (item !== null) registers.set(item[1] as string, item[2] as string);
      start = i + 1;
    }
  }
}

/** `; int x = a->b; @ file.c:12` (6.9 and later), or without the place. */
function parseSource(line: string): LogSource {
  const text = line.replace(/^;\s*/, '');
  const place = /^(.*?)\s*@ ([^@]+):(\d+)$/.exec(text);
  if (place === null) return { text, file: null, line: null };
  return { text: place[1] as string, file: place[2] as string, line: Number(place[3]) };
}

function contextInsn(lines: readonly string[] | undefined): string | null {
  for (const line of lines ?? []) {
    const found = /^\s*>>>\s*\d+\s*\|\s*(\([0-9a-f]{2}\).*)$/.exec(line);
    if (found !== null) return found[1] as string;
  }
  return null;
}

function joined(lines: readonly string[] | undefined): string | null {
  if (lines === undefined || lines.length === 0) return null;
  return lines.map((line) => line.trim()).join(' ');
}

function mentioned(text: string): string[] {
  const names = new Set<string>();
  for (const [, number] of text.matchAll(/\b[rRw](\d{1,2})\b/g)) if (Number(number) <= 10) names.add(`R${number}`);
  // Arguments of calls are told by their number: `arg#0` and `arg0` are R1, but `arg 1 is an unacquired reference` is R1, too.
  for (const [, number] of text.matchAll(/\barg ?#?(\d)\b(?! is an unacquired)/g)) names.add(`R${Number(number) + 1}`);
  for (const [, number] of text.matchAll(/\barg (\d) is an unacquired/g)) names.add(`R${number}`);
  return [...names];
}
