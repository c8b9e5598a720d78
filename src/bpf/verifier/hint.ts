interface HintRule {
  readonly pattern: RegExp;
  readonly hint: string;
}

/** Frequent refusals and what to do about them; the first rule whose pattern is found in the log's reason wins. */
const rules: readonly HintRule[] = [
  {
    pattern: /invalid mem access '\w+_or_null_?'|[Pp]ossibly NULL pointer/,
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
    pattern: /(?:variable-offset|unbounded variable-offset) (?:read from|write to|indirect \w+ (?:from|to)) stack/,
    hint: 'the place on the stack is not known: use constant indices there, or put the array into a map',
  },
  {
    pattern:
      /invalid (?:indirect )?write to stack|invalid write to stack|invalid size of register (?:fill|spill)|(?:fp|frame) pointer offset/,
    hint: 'the access passes the end of the 512 bytes of stack, or splits a pointer that is kept there: check the size given and the offset',
  },
  {
    pattern: /invalid indirect read from stack|invalid read from stack|invalid stack/,
    hint: 'stack bytes are used that were never written (padding counts): clear the structure first, as with = {}',
  },
  {
    pattern: /call stack of \d+ frames is too deep|recursive call/,
    hint: 'functions may call each other 8 deep, and never themselves: make helpers __always_inline, or turn the recursion into a loop',
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
    pattern: /invalid access to packet|outside of the packet|R\d+ pointer comparison/,
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
    pattern: /Unreleased reference|reference has not been|would lead to reference leak/,
    hint: 'what was acquired (a socket, a ring buffer reservation, a task) has to be released on every path',
  },
  {
    pattern:
      /R\d+ must be referenced when passed to release|is an unacquired reference|expects refcounted PTR_TO_BTF_ID|expects referenced PTR_TO_BTF_ID/,
    hint: 'only what this program acquired itself, and has not released yet, can be released here',
  },
  {
    pattern:
      /must be referenced or trusted|must be a rcu pointer|must have zero offset when passed to release func|pointer type STRUCT \w+ must point to scalar/,
    hint: 'this kernel function takes only pointers that the kernel vouches for: acquired ones, arguments of tp_btf and LSM programs, or ones read between bpf_rcu_read_lock() and bpf_rcu_read_unlock()',
  },
  {
    pattern: /dynptr/i,
    hint: 'a dynptr has to be made by bpf_dynptr_from_mem() or the like on every path, stay at one place of the stack, and not be used once it was released or its stack was written over',
  },
  {
    pattern: /(?:un)?initialized iter_\w+/,
    hint: 'an iterator has to be made by its _new(), used by its _next(), and ended by its _destroy(), once each on every path',
  },
  {
    pattern: /kptr/,
    hint: 'a kernel pointer in a map is read as a whole at its own place and only exchanged with bpf_kptr_xchg()',
  },
  {
    pattern: /spin_lock|spin_unlock|while holding a lock|tracing progs cannot use bpf_spin_lock/,
    hint: 'between bpf_spin_lock() and bpf_spin_unlock() of the same lock there may be no calls, no exit and no other lock; tracing programs cannot take one',
  },
  {
    pattern:
      /bpf_preempt_disable|bpf_rcu_read_lock|bpf_local_irq|may sleep are not allowed|sleepable within|RCU critical section|expected an RCU CS/,
    hint: 'sections that begin with a lock have to end on every path before the program does, and nothing in them may sleep',
  },
  {
    pattern: /can be sleepable|cannot be sleepable/,
    hint: 'this kind of program cannot sleep: take the .s off its section name',
  },
  {
    pattern: /div(?:ision)? by zero/,
    hint: 'the divisor is the constant 0',
  },
  {
    pattern:
      /cannot pass map_type|cannot update sockmap|expected prog array map|doesn't support non-zero flags|not pointing to valid bpf_map/,
    hint: 'the helper does not take a map of this type, or not in this program type',
  },
  {
    pattern: /invalid zero-sized read|invalid zero-sized/,
    hint: 'the size may be 0 on some path, which this helper does not take: test it before the call',
  },
  {
    pattern: /must be a known constant|verifier-known constant|doesn't have constant offset/,
    hint: 'this argument or offset has to be a number known when the program is compiled',
  },
  {
    pattern: /BPF_ATOMIC (?:stores|loads)/,
    hint: 'atomic operations work on the stack and on map values only',
  },
  {
    pattern: /read from map forbidden/,
    hint: 'the map was made with BPF_F_WRONLY_PROG: programs may not read it',
  },
  {
    pattern: /does not allow writes to packet data|helper access to the packet is not allowed/,
    hint: 'this program type may not do that with packet data: copy with bpf_skb_load_bytes(), change with bpf_skb_store_bytes()',
  },
  {
    pattern: /same insn cannot be used with different pointers/,
    hint: 'two branches come together in one access to different kinds of pointers: do the access in each branch, or put barrier_var() between',
  },
  {
    pattern: /__bpf_trap/,
    hint: 'the compiler found that this code reads a variable that was never set, or cannot be reached: look at its warnings with -Wall -O2',
  },
  {
    pattern:
      /dereference of modified|negative offset \w+ ptr|variable \w+ access|makes \w+ pointer be out of bounds|pointer offset -?\d+ is not allowed/,
    hint: 'this pointer has to be used as it was given, plus a constant within its structure: copy it to a variable first, and keep the compiler from adding to it with barrier_var()',
  },
  {
    pattern:
      /invalid (?:sock|sock_common|tcp_sock) access|access beyond (?:struct|the end of member)|cannot access ptr member|invalid access to flow keys/,
    hint: 'the structure has no such field at this size: read only named fields, as wide as they are declared',
  },
  {
    pattern: /invalid (?:rdwr|rdonly|tracepoint|variable) buffer (?:access|offset)|invalid negative access/,
    hint: 'the offset may lie outside of the buffer: compare it with its size right before the access',
  },
  {
    pattern: /jump out of range|last insn is not an exit|unknown opcode|frame pointer is read only|R\d+ is invalid/,
    hint: 'the instructions are damaged or newer than this kernel: compile with an older -mcpu (v3 from Linux 5.1 on), and check what made the object',
  },
  {
    pattern: /verifier bug/,
    hint: "the kernel's verifier contradicts itself: simplify the code at this place, and report it to the maintainers of the kernel",
  },
  {
    pattern: /attach to unsupported member|btf_id.*provide|must provide btf_id/,
    hint: 'this kernel does not know what to attach to: the section name lacks its target, or the kernel lacks the member',
  },
  {
    pattern: /LD_ABS|LD_\[ABS/,
    hint: 'the old packet loads work only in functions that return int, outside of callbacks and locked sections: use bpf_skb_load_bytes()',
  },
  {
    pattern: /reference type\('.*'\) size cannot be determined/,
    hint: 'a global function gets a pointer to an incomplete type: give the full declaration, or make the function static',
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
    pattern: /leaks? addr|cannot write into rdonly|write into map forbidden|only read (?:is supported|from \w+ is supported)|cannot write/,
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
