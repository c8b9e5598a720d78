import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { findClusterAccess, inClusterAccess, readKubeconfig } from '../../../src/enrich/kubernetes/access.ts';

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-kubeconfig-'));
// The root test, which all pure tests share, must have no teardown: it would end where one of them waits.
process.once('exit', () => rmSync(folder, { recursive: true }));

function config(name: string, content: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, content);
  return file;
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const pem = (what: string): string => `-----BEGIN ${what}-----\n`;
const two = `
apiVersion: v1
kind: Config
current-context: prod
contexts:
- {name: dev, context: {cluster: local, user: token}}
- {name: prod, context: {cluster: far, user: certificate}}
clusters:
- name: local
  cluster: {server: 'http://127.0.0.1:8001/'}
- name: far
  cluster: {server: 'https://[2001:db8::1]:6443/k8s', certificate-authority: ca.pem, tls-server-name: api.example}
users:
- name: token
  user: {token: abc, tokenFile: token.txt}
- name: certificate
  user: {client-certificate-data: ${base64(pem('CERT'))}, client-key-data: ${base64(pem('KEY'))}}
`;

t.test('the current context, another one, files beside the kubeconfig, and data in it', async (t) => {
  writeFileSync(path.join(folder, 'ca.pem'), pem('CA'));
  writeFileSync(path.join(folder, 'token.txt'), 'abc');
  const file = config('two', two);
  t.same(readKubeconfig(file), {
    server: 'https://[2001:db8::1]:6443/k8s',
    ca: pem('CA'),
    clientCertificate: pem('CERT'),
    clientKey: pem('KEY'),
    token: null,
    tokenFile: null,
    serverName: 'api.example',
    insecure: false,
  });
  t.match(readKubeconfig(file, 'dev'), {
    server: 'http://127.0.0.1:8001',
    token: 'abc',
    tokenFile: path.join(folder, 'token.txt'),
    ca: null,
  });
});

t.test('tags of YAML in a kubeconfig are not warned about', async (t) => {
  const warnings: unknown[] = [];
  const take = (warning: unknown): void => void warnings.push(warning);
  process.on('warning', take);
  readKubeconfig(config('tagged', two.replace('token: abc', 'token: !secret abc')), 'dev');
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', take);
  t.same(warnings, []);
});

t.test('what cannot be used is said', async (t) => {
  const cluster = 'clusters[far].cluster';
  const user = 'users[certificate].user';
  const withUser = (more: string): string => two.replace('{client-certificate-data', `{${more}, client-certificate-data`);
  const cases: readonly (readonly [name: string, content: string, why: RegExp, field?: string])[] = [
    ['no YAML', 'a: [1', /YAML|flow|sequence/i],
    ['a number', '7', /names no current context/, 'current-context'],
    ['an unknown context', 'current-context: x\ncontexts: []', /has no context "x"/, 'contexts'],
    [
      'an unknown cluster',
      'current-context: x\ncontexts: [{name: x, context: {cluster: y}}]\nclusters: {}',
      /has no cluster "y"/,
      'clusters',
    ],
    ['no URL', two.replace('https://[2001:db8::1]:6443/k8s', 'ftp://x'), /no URL of a server/, `${cluster}.server`],
    ['half a URL', two.replace('https://[2001:db8::1]:6443/k8s', 'https://[2001'), /no URL of a server/, `${cluster}.server`],
    [
      'a proxy',
      two.replace("{server: 'https", "{proxy-url: 'http://p:1', server: 'https"),
      /has proxy-url, and no proxies/,
      `${cluster}.proxy-url`,
    ],
    ['a password', withUser('username: me, password: secret'), /has username, and API servers take no passwords/, `${user}.username`],
    ['somebody else', withUser('as: root'), /has as, and nobody is impersonated/, `${user}.as`],
    ['a missing token', withUser('tokenFile: nothing'), /its tokenFile cannot be read/, `${user}.tokenFile`],
    // The parser takes half a minute for such a line.
    ['lists in lists', `a:\n  ${'- '.repeat(20_000)}`, /^line 2: lists or maps are nested too deep$/],
    ['braces in braces', `a: ${'{b: '.repeat(4_000)}`, /nested too deep/],
    ['no PEM', two.replace(base64(pem('CERT')), 'AAAA'), /its client-certificate-data is no PEM/, `${user}.client-certificate-data`],
    ['no key', two.replace(/, client-key-data: \S+}/, '}'), /certificate and its key go together/, user],
    [
      'a program to run',
      two.replace('{client-certificate-data', '{exec: {command: aws}, client-certificate-data'),
      /has exec, and no programs are run/,
      `${user}.exec`,
    ],
    [
      'a missing file',
      two.replace('ca.pem', 'nothing.pem'),
      /its certificate-authority cannot be read/,
      `${cluster}.certificate-authority`,
    ],
  ];
  for (const [name, content, why, field] of cases) {
    const file = config('bad', content);
    const where = field === undefined ? { file } : { file, field };
    t.throws(() => readKubeconfig(file), { code: 'E_KUBECONFIG', why, where }, name);
  }
  t.throws(() => readKubeconfig(path.join(folder, 'nothing')), { code: 'E_KUBECONFIG', why: /ENOENT/ });
});

t.test('a pod has its service account', async (t) => {
  const account = path.join(folder, 'account');
  mkdirSync(account);
  const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' };
  t.equal(inClusterAccess(env, account), null, 'there is no token');
  writeFileSync(path.join(account, 'token'), 'T\n');
  writeFileSync(path.join(account, 'ca.crt'), 'CA');
  t.match(inClusterAccess(env, account), {
    server: 'https://[fd00::1]:6443',
    ca: 'CA',
    token: null,
    tokenFile: path.join(account, 'token'),
  });
  t.equal(inClusterAccess({}, account), null, 'outside a cluster');
});

t.test('$KUBECONFIG goes before the home folder', async (t) => {
  const home = path.join(folder, 'home');
  mkdirSync(path.join(home, '.kube'), { recursive: true });
  t.equal(findClusterAccess({ env: { HOME: home } }), null);
  writeFileSync(path.join(home, '.kube/config'), two);
  writeFileSync(path.join(home, '.kube/ca.pem'), pem('CA'));
  t.match(findClusterAccess({ env: { HOME: home } }), { serverName: 'api.example' });
  const other = config('other', two.replace('current-context: prod', 'current-context: dev'));
  t.match(findClusterAccess({ env: { HOME: home, KUBECONFIG: `/nonexistent:${other}` } }), { token: 'abc' });
});

t.test('the files of $KUBECONFIG count as one: of a name the first is taken, and files are beside the one that names them', async (t) => {
  const [one, two_] = ['first', 'second'].map((name) => {
    mkdirSync(path.join(folder, name));
    writeFileSync(path.join(folder, name, 'ca.pem'), pem(name));
    return path.join(folder, name, 'config');
  }) as [string, string];
  writeFileSync(
    one,
    `
contexts: [{name: x, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: first}}]
`,
  );
  writeFileSync(
    two_,
    `
current-context: x
contexts: [{name: x, context: {cluster: other, user: other}}, {name: y, context: {cluster: c}}]
clusters: [{name: c, cluster: {server: 'https://second:6443', certificate-authority: ca.pem}}]
users: [{name: u, user: {token: second}}]
`,
  );
  const env = { HOME: '/nonexistent', KUBECONFIG: `/nonexistent::${one}:${two_}` };
  t.match(findClusterAccess({ env }), { server: 'https://second:6443', ca: pem('second'), token: 'first' });
  t.match(findClusterAccess({ env, context: 'y' }), { server: 'https://second:6443', token: null });
  t.throws(() => findClusterAccess({ env, context: 'z' }), { code: 'E_KUBECONFIG', where: { file: `${one}:${two_}`, field: 'contexts' } });
});
