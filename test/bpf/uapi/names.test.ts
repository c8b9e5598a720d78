import t from 'tap';
import { BPF_CMD, BPF_FUNC, BPF_MAP_TYPE, BPF_PROG_TYPE, nameOf, valueOf } from '../../../src/bpf/uapi/index.ts';

void t.test('a number has one name', async (test) => {
  test.equal(nameOf(BPF_PROG_TYPE, 5), 'BPF_PROG_TYPE_TRACEPOINT');
  test.equal(nameOf(BPF_FUNC, 130), 'BPF_FUNC_ringbuf_output');
  test.equal(nameOf(BPF_CMD, 10), 'BPF_PROG_TEST_RUN');
  test.equal(nameOf(BPF_MAP_TYPE, 19), 'BPF_MAP_TYPE_CGROUP_STORAGE', 'not the ..._DEPRECATED alias');
  test.equal(nameOf(BPF_MAP_TYPE, 9999), null);
});

void t.test('a name has one number', async (test) => {
  test.equal(valueOf(BPF_MAP_TYPE, 'BPF_MAP_TYPE_RINGBUF'), 27);
  for (const name of ['', 'BPF_MAP_TYPE_NOPE', '__proto__', 'constructor', 'toString']) test.equal(valueOf(BPF_MAP_TYPE, name), null, name);
});
