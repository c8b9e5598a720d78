/** An API server that the cases are run against: the one of this process, or a real one. */
export interface TestServer {
  /** Reads from it as `user` may: `admin`, `reader` (pods only) or `nobody`. */
  access(user: 'admin' | 'reader' | 'nobody'): import('../../../src/enrich/kubernetes/access.ts').ClusterAccess;
  /** POSTs below a path; what the server made of it. */
  create(path: string, object: object): Promise<TestObject>;
  /** GETs an object as it is. */
  read(path: string): Promise<unknown>;
  /** Merges into the status of an object. */
  patchStatus(path: string, status: object): Promise<void>;
  remove(path: string): Promise<void>;
  /** Begins to remove a pod: its object stays until it is removed. */
  terminate(path: string): Promise<void>;
  /** Forgets all versions but the last ones: pages and watches cannot go on from there. */
  forget(): Promise<void>;
  /** A service account of its own that may do nothing yet. */
  account(name: string): Promise<TestAccount>;
}

/** A service account of a {@link TestServer}. */
export interface TestAccount {
  /** A new token; it is good until it is revoked. */
  token(): Promise<TestToken>;
  /** Lets it read everything that is followed. */
  grant(): Promise<void>;
  remove(): Promise<void>;
}

export interface TestToken {
  readonly text: string;
  revoke(): Promise<void>;
}

/** An object as the server gives it back. */
export interface TestObject {
  readonly metadata: { readonly uid: string; readonly name: string; readonly namespace?: string };
  readonly spec?: { readonly clusterIP?: string; readonly clusterIPs?: readonly string[] };
}

/** Resolves when `test` holds; rejects, with what `told` says, when it does not in `ms`. */
export async function until(test: () => boolean, told: string, ms = 30_000): Promise<void> {
  const end = performance.now() + ms;
  while (!test()) {
    if (performance.now() > end) throw new Error(`not in ${ms} ms: ${told}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
