import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parse } from 'yaml';
import { UsageError } from '../../error.ts';
import { elements, member, text, type Json } from '../json.ts';

/** How to reach a cluster's API server, and as whom. */
export interface ClusterAccess {
  /** `https://host:port`, perhaps with a path; no slash at the end. */
  readonly server: string;
  /** PEM; null: the authorities that Node trusts. */
  readonly ca: string | null;
  readonly clientCertificate: string | null;
  readonly clientKey: string | null;
  readonly token: string | null;
  /** Read again every minute: such tokens are replaced before they expire. */
  readonly tokenFile: string | null;
  /** The name that the server's certificate must bear, where it is not the host's. */
  readonly serverName: string | null;
  /** Whether any certificate will do. */
  readonly insecure: boolean;
}

const serviceAccount = '/var/run/secrets/kubernetes.io/serviceaccount';
const noAccess = { ca: null, clientCertificate: null, clientKey: null, token: null, tokenFile: null, serverName: null, insecure: false };

/** Where {@link findClusterAccess} looks. */
export interface FindAccessOptions {
  /** A kubeconfig; without it $KUBECONFIG, the pod's service account, and ~/.kube/config are tried in this order. */
  readonly kubeconfig?: string;
  /** A context of the kubeconfig; its current one unless said. */
  readonly context?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/**
 * Access to the cluster that this process belongs to or was pointed at; null where there is none.
 * Throws a UsageError (E_KUBECONFIG) for a kubeconfig that cannot be used.
 */
export function findClusterAccess(options: FindAccessOptions = {}): ClusterAccess | null {
  const env = options.env ?? process.env;
  if (options.kubeconfig !== undefined) return readKubeconfig(options.kubeconfig, options.context);
  const listed = (env['KUBECONFIG'] ?? '').split(path.delimiter).find((file) => file !== '' && existsSync(file));
  if (listed !== undefined) return readKubeconfig(listed, options.context);
  const inPod = inClusterAccess(env);
  if (inPod !== null) return inPod;
  const usual = path.join(env['HOME'] ?? os.homedir(), '.kube', 'config');
  return existsSync(usual) ? readKubeconfig(usual, options.context) : null;
}

/** What a pod's service account gives; null outside a pod. */
export function inClusterAccess(env: Readonly<Record<string, string | undefined>>, folder: string = serviceAccount): ClusterAccess | null {
  const host = env['KUBERNETES_SERVICE_HOST'] ?? '';
  const tokenFile = path.join(folder, 'token');
  if (host === '' || !existsSync(tokenFile)) return null;
  const ca = path.join(folder, 'ca.crt');
  return {
    ...noAccess,
    server: `https://${host.includes(':') ? `[${host}]` : host}:${env['KUBERNETES_SERVICE_PORT'] ?? '443'}`,
    ca: existsSync(ca) ? readFileSync(ca, 'utf8') : null,
    tokenFile,
  };
}

/** Reads a kubeconfig (kubernetes.io/docs/reference/config-api/kubeconfig.v1). */
export function readKubeconfig(file: string, contextName?: string): ClusterAccess {
  const fail = (why: string, cause?: unknown): never => {
    throw new UsageError({
      code: 'E_KUBECONFIG',
      what: 'the kubeconfig cannot be used',
      where: { file },
      why,
      ...(cause === undefined ? {} : { cause }),
    });
  };
  let config: Json;
  try {
    config = parse(readFileSync(file, 'utf8'));
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error), error);
  }
  const named = (list: string, name: string, kind: string): Json =>
    member(
      elements(member(config, list)).find((each) => text(member(each, 'name')) === name) ??
        fail(`it has no ${kind} ${JSON.stringify(name)}`),
      kind,
    );
  const wanted = contextName ?? text(member(config, 'current-context'));
  if (wanted === '') return fail('it names no current context');
  const context = named('contexts', wanted, 'context');
  const cluster = named('clusters', text(member(context, 'cluster')), 'cluster');
  const userName = text(member(context, 'user'));
  const user = userName === '' ? undefined : named('users', userName, 'user');
  for (const kind of ['exec', 'auth-provider']) {
    if (member(user, kind) !== undefined)
      return fail(`user ${JSON.stringify(userName)} has ${kind}, and no programs are run; give it a token or a certificate`);
  }
  const server = text(member(cluster, 'server')).replace(/\/+$/, '');
  if (!/^https?:\/\/[^/]/.test(server)) return fail(`${JSON.stringify(server)} is no URL of a server`);
  const folder = path.dirname(path.resolve(file));
  // Files count from the kubeconfig's folder; data is in it, in base64, and goes before files.
  const content = (of: Json, name: string): string | null => {
    const data = text(member(of, `${name}-data`));
    if (data !== '') return Buffer.from(data, 'base64').toString('utf8');
    const relative = text(member(of, name));
    if (relative === '') return null;
    try {
      return readFileSync(path.resolve(folder, relative), 'utf8');
    } catch (error) {
      return fail(`its ${name} cannot be read`, error);
    }
  };
  const tokenFile = orNull(text(member(user, 'tokenFile')));
  return {
    server,
    ca: content(cluster, 'certificate-authority'),
    clientCertificate: content(user, 'client-certificate'),
    clientKey: content(user, 'client-key'),
    token: orNull(text(member(user, 'token'))),
    tokenFile: tokenFile === null ? null : path.resolve(folder, tokenFile),
    serverName: orNull(text(member(cluster, 'tls-server-name'))),
    insecure: member(cluster, 'insecure-skip-tls-verify') === true,
  };
}

const orNull = (value: string): string | null => (value === '' ? null : value);
