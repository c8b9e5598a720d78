import { RawbpfError } from '../../error.ts';

/** A Kubernetes API server did not answer, or not with what was asked for. */
export class KubernetesApiError extends RawbpfError {
  /** HTTP's, or the one that an event of a watch carries; null where none came. */
  readonly status: number | null;
  /** Whether what came makes no sense: nobody knows then what was missed. */
  readonly garbage: boolean;

  constructor(what: string, why: string, more: { readonly status?: number; readonly garbage?: boolean; readonly cause?: unknown } = {}) {
    super({ code: 'E_KUBERNETES_API', what, why, ...(more.cause === undefined ? {} : { cause: more.cause }) });
    this.status = more.status ?? null;
    this.garbage = more.garbage ?? false;
  }
}
