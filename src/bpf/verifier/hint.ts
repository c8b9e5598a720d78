interface HintRule {
  readonly pattern: RegExp;
  readonly hint: string;
}

/** Frequent refusals and what to do about them; the first rule whose pattern is found in the log's reason wins. */
const rules: readonly HintRule[] = [
  {
    pattern:
      /invalid mem access '(?:map_value|mem|sock|ptr|rdonly_mem|rdwr_mem|ringbuf_mem|trusted_ptr|rcu_ptr|\w+)_or_null'|possibly NULL pointer/,
    hint: 'check the pointer against NULL before using it: look-ups and reservations may fail',
  },
  {
    pattern: /invalid mem access '(?:scalar|inv)'/,
    hint: 'this is a plain number to the verifier, not a pointer it knows: read kernel memory with bpf_probe_read_kernel() or BPF_CORE_READ()',
  },
  {
    pattern: /R\d+ !read_ok|Unreadable register/,
    hint: 'a register is read that no path has set: give the variable a value on every path, and return one from the program',
  },
  {
    pattern: /unreachable insn/,
    hint: 'code that no path reaches is refused: it often comes from a condition that is constant, or a missing return in assembly',
  },
  {
    pattern: /invalid indirect read from stack|invalid read from stack|invalid stack/,
    hint: 'stack bytes are used that were never written (padding counts): clear the structure first, as with = {}',
  },
  {
    pattern: /combined stack size|stack depth.*exceed|Looks like the BPF stack limit|stack limit/,
    hint: 'a program and what it calls share 512 bytes of stack: put big structures into a per-CPU array map',
  },
  {
    pattern: /BPF program is too large|too many instructions|The sequence of \d+ jumps is too complex|program is too complex/,
    hint: 'the verifier gave up on the number of paths: bound loops tighter, use bpf_loop(), or split the work into global functions or tail calls',
  },
  {
    pattern: /back-edge from insn|infinite loop detected/,
    hint: 'the verifier sees no end to this loop: give it a constant bound, or use bpf_loop() or bpf_for()',
  },
  {
    pattern:
      /unbounded memory access|min value is negative|unbounded min value|max value is outside|min value is outside|invalid access to map value|outside of the allowed memory range/,
    hint: 'the size or offset may pass the end: compare it with the bound right before the access, in the same (unsigned) variable',
  },
  {
    pattern: /invalid access to packet|R\d+ pointer comparison/,
    hint: 'compare the packet pointer plus the size with data_end right before the access, and read both again after helpers that change the packet',
  },
  {
    pattern: /invalid bpf_context access/,
    hint: 'this program type has no such field in its context, or not at this size: check the section name and the type of the context argument',
  },
  {
    pattern: /unknown func|program of this type cannot use helper|invalid func |cannot use helper/,
    hint: 'this helper does not exist in this kernel or is not allowed in this program type; some only exist for GPL-compatible programs',
  },
  {
    pattern: /BPF_STX uses reserved fields/,
    hint: 'this kernel has no atomic operations that give the old value (Linux 5.12): do not use the result of __sync_fetch_and_add()',
  },
  {
    pattern: /calling kernel function \S+ is not allowed|kernel function .* not allowed/,
    hint: 'this kernel function is not open to this program type',
  },
  {
    pattern: /cannot call GPL-restricted function|GPL compatible program/,
    hint: 'declare a GPL-compatible licence: char LICENSE[] SEC("license") = "GPL"',
  },
  {
    pattern: /Unreleased reference|reference has not been|R\d+ must be referenced/,
    hint: 'what was acquired (a socket, a ring buffer reservation, a task) has to be released on every path',
  },
  {
    pattern: /At program exit the register R0 has|R0 (?:has|is not)|invalid return/,
    hint: 'the program returns a value outside the range that its type allows',
  },
  {
    pattern: /misaligned (?:stack|value|packet|ptr|access|context)/,
    hint: 'the address is not a multiple of the access size: align or pack the structure, or copy the bytes',
  },
  {
    pattern: /math between|pointer arithmetic|prohibited|R\d+ tried to (?:add|subtract)|bitwise operator/,
    hint: 'this arithmetic on a pointer is not allowed: do it on the offset, check the bound, then add it once',
  },
  {
    pattern: /leaks? addr|cannot write into rdonly|write into map forbidden|only read is supported|cannot write/,
    hint: 'this memory may not be written (read-only map, kernel object or pointer leak): write into a copy',
  },
  {
    pattern: /type=\S+ expected=|expects pointer to|expected pointer to/,
    hint: 'the helper wants another kind of pointer as this argument: a pointer to the stack or to a map value, or the object itself',
  },
  {
    pattern: /attach_btf_id|is not supported for attach|isn't a valid .*attach|Attach to unsupported/,
    hint: 'this kernel cannot attach there; a tracepoint or a kprobe on the same path may do',
  },
  {
    pattern: /has no valid kfunc set|failed to find kernel BTF|unresolved/,
    hint: 'the kernel lacks the function or its type information; declare it __weak and test for it',
  },
  {
    pattern: /JIT (?:does not|doesn't) support|cannot pass .* without JIT/,
    hint: 'the kernel runs this program only compiled: switch the compiler on with sysctl net.core.bpf_jit_enable=1',
  },
];

/** A next step for a refusal, null where no rule knows the message. */
export function hintFor(reason: string): string | null {
  return rules.find((rule) => rule.pattern.test(reason))?.hint ?? null;
}
