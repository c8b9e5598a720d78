// A real kube-apiserver and etcd of their own (scripts/kubernetes/server.mjs).
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { readKubeconfig, type ClusterAccess } from '../../../src/enrich/kubernetes/access.ts';
import { at, text } from '../../../src/enrich/json.ts';
import type { TestAccount, TestObject, TestServer } from './server.ts';

const script = fileURLToPath(new URL('../../../../scripts/kubernetes/server.mjs', import.meta.url));

export interface Started {
  readonly server: string;
  readonly etcd: string;
  readonly kubeconfigs: Readonly<Record<string, string>>;
}

/** Starts one; `$RAWBPF_K8S` may name one that runs (`server.mjs with`), which is left as it is. */
export function startRealServer(): { readonly server: RealServer; readonly started: Started; readonly stop: () => void } {
  const running = process.env['RAWBPF_K8S'];
  if (running !== undefined) {
    const started = JSON.parse(running) as Started;
    const server = new RealServer(started);
    return { server, started, stop: () => server.close() };
  }
  const dir = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-k8s-'));
  const run = (command: string): string =>
    execFileSync(process.execPath, [script, command, '--dir', dir], { encoding: 'utf8', stdio: ['ignore', 'pipe', 2] });
  const started = JSON.parse(run('start')) as Started;
  const server = new RealServer(started);
  return {
    server,
    started,
    stop: () => {
      server.close();
      run('stop');
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

export class RealServer implements TestServer {
  readonly #kubeconfigs: Readonly<Record<string, string>>;
  readonly #agent: https.Agent;
  readonly #server: string;
  readonly #etcd: string;

  constructor({ kubeconfigs, etcd }: Started) {
    this.#kubeconfigs = kubeconfigs;
    this.#etcd = etcd;
    const { ca, clientCertificate, clientKey, server } = this.access('admin');
    this.#server = server;
    this.#agent = new https.Agent({ keepAlive: true, maxSockets: 8, ca: ca ?? '', cert: clientCertificate ?? '', key: clientKey ?? '' });
  }

  access(user: 'admin' | 'reader' | 'nobody'): ClusterAccess {
    return readKubeconfig(this.#kubeconfigs[user] ?? '');
  }

  async create(where: string, object: object): Promise<TestObject> {
    return await this.#send('POST', where, object, 'application/json');
  }

  async post(where: string, body: string, type: string): Promise<TestObject> {
    return await this.#send('POST', where, body, type);
  }

  async read(where: string): Promise<unknown> {
    return await this.#send('GET', where, null, 'application/json');
  }

  async patchStatus(where: string, status: object): Promise<void> {
    await this.#send('PATCH', `${where}/status`, { status }, 'application/merge-patch+json');
  }

  async remove(where: string): Promise<void> {
    // There is no kubelet that would confirm the end of a pod.
    await this.#send('DELETE', `${where}?gracePeriodSeconds=0`, null, 'application/json');
  }

  async terminate(where: string): Promise<void> {
    await this.#send('DELETE', `${where}?gracePeriodSeconds=30`, null, 'application/json');
  }

  /** etcd forgets what was before now (its HTTP gateway, v3 of the API). */
  async forget(): Promise<void> {
    const ask = async (where: string, body: object): Promise<unknown> =>
      (await fetch(`${this.#etcd}${where}`, { method: 'POST', body: JSON.stringify(body) })).json();
    const revision = text(at(await ask('/v3/kv/range', { key: 'eA==' }), 'header', 'revision'));
    await ask('/v3/kv/compaction', { revision, physical: true });
  }

  async account(name: string): Promise<TestAccount> {
    const accounts = '/api/v1/namespaces/shop/serviceaccounts';
    const secrets = '/api/v1/namespaces/shop/secrets';
    const rbac = '/apis/rbac.authorization.k8s.io/v1';
    const apiVersion = 'rbac.authorization.k8s.io/v1';
    await this.create(accounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name } });
    let tokens = 0;
    const made: string[] = [`${accounts}/${name}`];
    return {
      token: async () => {
        // Bound to an object: it is worth nothing when that is gone.
        const bound = `${name}-${tokens++}`;
        const { metadata } = await this.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata: { name: bound } });
        made.push(`${secrets}/${bound}`);
        const answer = await this.#send(
          'POST',
          `${accounts}/${name}/token`,
          {
            apiVersion: 'authentication.k8s.io/v1',
            kind: 'TokenRequest',
            spec: { boundObjectRef: { apiVersion: 'v1', kind: 'Secret', name: bound, uid: metadata.uid } },
          },
          'application/json',
        );
        return {
          text: text(at(answer, 'status', 'token')),
          revoke: () => this.remove(made.splice(made.indexOf(`${secrets}/${bound}`), 1)[0] ?? ''),
        };
      },
      grant: async () => {
        const verbs = ['get', 'list', 'watch'];
        const rules = [
          { apiGroups: [''], resources: ['pods', 'services', 'nodes'], verbs },
          { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs },
        ];
        await this.create(`${rbac}/clusterroles`, { apiVersion, kind: 'ClusterRole', metadata: { name }, rules });
        await this.create(`${rbac}/clusterrolebindings`, {
          apiVersion,
          kind: 'ClusterRoleBinding',
          metadata: { name },
          roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
          subjects: [{ kind: 'ServiceAccount', name, namespace: 'shop' }],
        });
        made.push(`${rbac}/clusterroles/${name}`, `${rbac}/clusterrolebindings/${name}`);
      },
      remove: async () => {
        for (const each of made) await this.remove(each);
      },
    };
  }

  close(): void {
    this.#agent.destroy();
  }

  #send(method: string, where: string, body: object | string | null, type: string): Promise<TestObject> {
    return new Promise((resolve, reject) => {
      const headers = body === null ? {} : { 'content-type': type };
      const request = https.request(`${this.#server}${where}`, { method, agent: this.#agent, headers }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => (text += part));
        response.on('end', () => {
          if ((response.statusCode ?? 500) < 300) resolve(JSON.parse(text));
          else reject(new Error(`${method} ${where}: ${response.statusCode ?? 0} ${text}`));
        });
      });
      request.on('error', reject);
      request.end(body === null ? undefined : typeof body === 'string' ? body : JSON.stringify(body));
    });
  }
}
