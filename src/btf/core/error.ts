import { RawbpfError } from '../../error.ts';

/**
 * A CO-RE relocation that cannot be resolved at all, so that loading has to fail (as libbpf's does): a malformed record,
 * candidates that disagree, a field no instruction can read. A field that is merely missing is no error: the instruction is poisoned.
 *
 * Codes: E_CORE_SPEC, E_CORE_KIND, E_CORE_ANONYMOUS, E_CORE_AMBIGUOUS, E_CORE_VALUE, E_CORE_DEPTH, E_CORE_TOO_COMPLEX,
 * E_CORE_NO_BTF, E_CORE_INSN.
 */
export class CoreError extends RawbpfError {}
