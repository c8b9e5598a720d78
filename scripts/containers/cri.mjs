// Pods through a runtime's CRI socket (runtime.v1.RuntimeService), as a kubelet makes them: gRPC over node:http2.
import { randomUUID } from 'node:crypto';
import http2 from 'node:http2';
import net from 'node:net';
import path from 'node:path';

// Protocol buffers, as far as needed here: https://protobuf.dev/programming-guides/encoding
const varint = (value) => {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
};
const bytes = (field, value) => Buffer.concat([varint(field * 8 + 2), varint(value.length), value]);
const text = (field, value) => bytes(field, Buffer.from(value));
const number = (field, value) => Buffer.concat([varint(field * 8), varint(value)]);
const message = (field, ...parts) => bytes(field, Buffer.concat(parts));
const map = (field, object) => Buffer.concat(Object.entries(object).map(([key, value]) => message(field, text(1, key), text(2, value))));

/** The strings of field 1 in a message, all levels deep as `depth` says. */
function firstStrings(buffer, depth) {
  const found = [];
  for (let at = 0; at < buffer.length;) {
    const read = () => {
      let value = 0;
      for (let scale = 1; ; scale *= 128) {
        const byte = buffer[at++];
        value += (byte & 127) * scale;
        if (byte < 128) return value;
      }
    };
    const key = read();
    const size = read();
    if ((key & 7) !== 2) continue;
    const part = buffer.subarray(at, at + size);
    at += size;
    if (key >> 3 === 1) found.push(...(depth === 0 ? [part.toString()] : firstStrings(part, depth - 1).slice(0, 1)));
  }
  return found;
}

const ownLabels = ({ name, namespace, uid }) => ({
  'io.kubernetes.pod.name': name,
  'io.kubernetes.pod.namespace': namespace,
  'io.kubernetes.pod.uid': uid,
});

/** Network and IPC of the pod, process ids of each container (1) unless they are shared; 2 is the node's. */
const namespacesOf = ({ hostNetwork = false, sharePid = false }) =>
  Buffer.concat([number(1, hostNetwork ? 2 : 0), number(2, sharePid ? 0 : 1), number(3, 0)]);

/** runtime.v1.PodSandboxConfig. */
function podConfig(pod) {
  const { name, namespace, uid, labels = {}, hostNetwork = false, logs, qos = 'besteffort' } = pod;
  return Buffer.concat([
    message(1, text(1, name), text(2, uid), text(3, namespace)),
    ...(hostNetwork ? [] : [text(2, name)]),
    text(3, path.join(logs, uid)),
    map(6, { ...labels, ...ownLabels(pod) }),
    map(7, { 'kubernetes.io/config.source': 'api' }),
    message(8, text(1, `/kubepods/${qos}/pod${uid}`), message(2, bytes(1, namespacesOf(pod)))),
  ]);
}

/** A connection to a CRI socket. */
export class Cri {
  #session;
  constructor(socket) {
    this.#session = http2.connect('http://localhost', { createConnection: () => net.connect(socket) });
    this.#session.on('error', () => {});
  }

  call(method, request) {
    return new Promise((resolve, reject) => {
      const headers = {
        ':method': 'POST',
        ':path': `/runtime.v1.RuntimeService/${method}`,
        'content-type': 'application/grpc',
        te: 'trailers',
      };
      const stream = this.#session.request(headers);
      const head = Buffer.alloc(5);
      head.writeUInt32BE(request.length, 1);
      const parts = [];
      let status = { 'grpc-status': '2', 'grpc-message': 'no answer' };
      stream.setTimeout(120_000, () => stream.close());
      stream.on('response', (answer) => (status = answer['grpc-status'] === undefined ? status : answer));
      stream.on('trailers', (trailers) => (status = trailers));
      stream.on('data', (part) => parts.push(part));
      stream.on('error', reject);
      stream.on('close', () => {
        if (status['grpc-status'] === '0') resolve(Buffer.concat(parts).subarray(5));
        else reject(new Error(`${method}: ${decodeURIComponent(status['grpc-message'] ?? '')} (status ${status['grpc-status']})`));
      });
      stream.end(Buffer.concat([head, request]));
    });
  }

  /** Starts a pod and its containers, `{name: [command, ...]}`. */
  async startPod({ name, namespace = 'shop', uid = randomUUID(), containers = {}, ...rest }) {
    const pod = { name, namespace, uid, ...rest };
    const [sandbox] = firstStrings(await this.call('RunPodSandbox', bytes(1, podConfig(pod))), 0);
    const ids = {};
    for (const [container, command] of Object.entries(containers)) {
      ids[container] = await this.startContainer({ ...pod, sandbox }, container, command);
    }
    return { sandbox, name, namespace, uid, containers: ids };
  }

  /** Starts one more container in a pod; its id. */
  async startContainer(pod, name, command) {
    const spec = Buffer.concat([
      message(1, text(1, name)),
      message(2, text(1, pod.image)),
      ...command.map((word) => text(3, word)),
      map(9, { ...ownLabels(pod), 'io.kubernetes.container.name': name }),
      map(10, { 'io.kubernetes.container.restartCount': '0' }),
      text(11, `${name}.log`),
      message(15, message(2, bytes(3, namespacesOf(pod)))),
    ]);
    const [id] = firstStrings(
      await this.call('CreateContainer', Buffer.concat([text(1, pod.sandbox), bytes(2, spec), bytes(3, podConfig(pod))])),
      0,
    );
    await this.call('StartContainer', text(1, id));
    return id;
  }

  /** Runs a container in a pod to its end, and removes it unless the pod says `keep`: kubelets keep them for a minute. */
  async runOnce(pod, name, command) {
    const id = await this.startContainer(pod, name, command);
    // runtime.v1.ContainerState: 2 has ended.
    const ended = message(1, text(1, id), message(2, number(1, 2)));
    while (firstStrings(await this.call('ListContainers', ended), 1).length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    if (pod.keep !== true) await this.call('RemoveContainer', text(1, id));
  }

  async stopPod(sandbox) {
    // Without patience: the first process of a pid namespace ignores SIGTERM.
    const containers = firstStrings(await this.call('ListContainers', message(1, text(3, sandbox))), 1);
    await Promise.all(containers.map((id) => this.call('StopContainer', Buffer.concat([text(1, id), number(2, 0)])).catch(() => {})));
    await this.call('StopPodSandbox', text(1, sandbox));
    await this.call('RemovePodSandbox', text(1, sandbox));
  }

  /** Ids of all sandboxes. */
  async pods() {
    return firstStrings(await this.call('ListPodSandbox', Buffer.alloc(0)), 1);
  }

  close() {
    this.#session.destroy();
  }
}
