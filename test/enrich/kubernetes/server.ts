/** An API server that the cases are run against: the one of this process, or a real one. */
export interface TestServer {
  /** Reads from it as `user` may: `admin`, `reader` (pods only) or `nobody`. */
  access(user: 'admin' | 'reader' | 'nobody'): import('../../../src/enrich/kubernetes/access.ts').ClusterAccess;
  /** POSTs below a path; what the server made of it. */
  create(path: string, object: object): Promise<TestObject>;
  /** Merges into the status of an object. */
  patchStatus(path: string, status: object): Promise<void>;
  remove(path: string): Promise<void>;
}

/** An object as the server gives it back. */
export interface TestObject {
  readonly metadata: { readonly uid: string; readonly name: string; readonly namespace?: string };
  readonly spec?: { readonly clusterIP?: string };
}

/** Resolves when `test` holds; rejects, with what `told` says, when it does not in `ms`. */
export async function until(test: () => boolean, told: string, ms = 15_000): Promise<void> {
  const end = performance.now() + ms;
  while (!test()) {
    if (performance.now() > end) throw new Error(`not in ${ms} ms: ${told}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
