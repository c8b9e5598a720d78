import { RawbpfError } from '../../error.ts';

/** A runtime's socket did not answer, or not with what was asked for. */
export class RuntimeApiError extends RawbpfError {
  /** The status that the server gave: of HTTP, or of gRPC. Null where none came. */
  readonly status: number | null;
  /** No answer in time: the socket hangs. */
  readonly timedOut: boolean;

  constructor(what: string, why: string, more: { readonly status?: number; readonly timedOut?: boolean; readonly cause?: unknown } = {}) {
    super({ code: 'E_RUNTIME_API', what, why, ...(more.cause === undefined ? {} : { cause: more.cause }) });
    this.status = more.status ?? null;
    this.timedOut = more.timedOut ?? false;
  }
}
