import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parse } from 'yaml';
import { yamlReason, yamlTooDeep } from '../../bytes/yaml-depth.ts';
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
  const listed = (env['KUBECONFIG'] ?? '').split(path.delimiter).filter((file) => file !== '' && existsSync(file));
  if (listed.length > 0) return readKubeconfig(listed, options.context);
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

/** What a user or cluster of a kubeconfig may have that would change who asks whom, and how: it is not left out in silence. */
const unsupported: readonly (readonly [kind: 'user' | 'cluster', field: string, why: string])[] = [
  ['user', 'exec', 'no programs are run; give it a token or a certificate'],
  ['user', 'auth-provider', 'no programs are run; give it a token or a certificate'],
  ['user', 'username', 'API servers take no passwords since 1.19; give it a token or a certificate'],
  ['user', 'as', "nobody is impersonated; take a user of one's own"],
  ['cluster', 'proxy-url', 'no proxies are used; give a server that can be reached'],
];

/** An entry of a list of a kubeconfig, and where it is. */
interface Entry {
  readonly value: Json;
  readonly file: string;
  readonly field: string;
}

/**
 * Reads a kubeconfig (kubernetes.io/docs/reference/config-api/kubeconfig.v1). Several files count as one, as $KUBECONFIG lists them:
 * of entries of one name, and of current contexts, the first is taken.
 */
export function readKubeconfig(from: string | readonly string[], contextName?: string): ClusterAccess {
  const files = typeof from === 'string' ? [from] : from;
  const fail = (why: string, where: { readonly file: string; readonly field?: string }, cause?: unknown): never => {
    throw new UsageError({
      code: 'E_KUBECONFIG',
      what: 'the kubeconfig cannot be used',
      where: { ...where },
      why,
      ...(cause === undefined ? {} : { cause }),
    });
  };
  const configs = files.map((file): Entry => {
    let deep: ReturnType<typeof yamlTooDeep> = null;
    try {
      const content = readFileSync(file, 'utf8');
      deep = yamlTooDeep(content);
      // Tags of the file's own are nothing to warn a process about.
      if (deep === null) return { value: parse(content, { logLevel: 'error' }), file, field: '' };
    } catch (error) {
      return fail(error instanceof Error ? yamlReason(error) : String(error), { file }, error);
    }
    return fail(`line ${deep.line}: ${deep.why}`, { file });
  });
  const all = { file: files.join(path.delimiter) };
  const named = (list: string, name: string, kind: string): Entry => {
    for (const { value, file } of configs) {
      const found = elements(member(value, list)).find((each) => text(member(each, 'name')) === name);
      if (found !== undefined) return { value: member(found, kind), file, field: `${list}[${name}].${kind}` };
    }
    return fail(`it has no ${kind} ${JSON.stringify(name)}`, { ...all, field: list });
  };
  const wanted = contextName ?? configs.map(({ value }) => text(member(value, 'current-context'))).find((each) => each !== '') ?? '';
  if (wanted === '') return fail('it names no current context', { ...all, field: 'current-context' });
  const context = named('contexts', wanted, 'context');
  const cluster = named('clusters', text(member(context.value, 'cluster')), 'cluster');
  const userName = text(member(context.value, 'user'));
  const user = userName === '' ? { ...context, value: undefined } : named('users', userName, 'user');
  for (const [kind, field, why] of unsupported) {
    const entry = kind === 'user' ? user : cluster;
    if (member(entry.value, field) !== undefined)
      return fail(`${entry.field} has ${field}, and ${why}`, { file: entry.file, field: `${entry.field}.${field}` });
  }
  const server = text(member(cluster.value, 'server')).replace(/\/+$/, '');
  if (!/^https?:\/\/[^/]/.test(server) || !URL.canParse(server))
    return fail(`${JSON.stringify(server)} is no URL of a server`, { file: cluster.file, field: `${cluster.field}.server` });
  const read = (of: Entry, name: string, file: string): string => {
    try {
      return readFileSync(file, 'utf8');
    } catch (error) {
      return fail(`its ${name} cannot be read`, { file: of.file, field: `${of.field}.${name}` }, error);
    }
  };
  // Files count from the folder of the kubeconfig that names them; data is in it, in base64, and goes before files.
  const beside = (of: Entry, relative: string): string => path.resolve(path.dirname(path.resolve(of.file)), relative);
  const content = (of: Entry, name: string): string | null => {
    const data = text(member(of.value, `${name}-data`));
    const relative = text(member(of.value, name));
    if (data === '' && relative === '') return null;
    const pem = data === '' ? read(of, name, beside(of, relative)) : Buffer.from(data, 'base64').toString('utf8');
    if (!pem.includes('-----BEGIN ')) {
      const field = data === '' ? name : `${name}-data`;
      return fail(`its ${field} is no PEM`, { file: of.file, field: `${of.field}.${field}` });
    }
    return pem;
  };
  const tokenFile = orNull(text(member(user.value, 'tokenFile')));
  if (tokenFile !== null) read(user, 'tokenFile', beside(user, tokenFile));
  const [clientCertificate, clientKey] = [content(user, 'client-certificate'), content(user, 'client-key')];
  if ((clientCertificate === null) !== (clientKey === null))
    return fail('a client certificate and its key go together', { file: user.file, field: user.field });
  return {
    server,
    ca: content(cluster, 'certificate-authority'),
    clientCertificate,
    clientKey,
    token: orNull(text(member(user.value, 'token'))),
    tokenFile: tokenFile === null ? null : beside(user, tokenFile),
    serverName: orNull(text(member(cluster.value, 'tls-server-name'))),
    insecure: member(cluster.value, 'insecure-skip-tls-verify') === true,
  };
}

const orNull = (value: string): string | null => (value === '' ? null : value);
