import t from 'tap';
import { fitEntries } from '../../../src/bpf/map/create.ts';
import { BPF_MAP_TYPE } from '../../../src/bpf/uapi/index.ts';

t.test('sizes as kernels with pages of 4, 16 and 64 KiB want them', async (t) => {
  // libbpf's adjust_ringbuf_sz(), computed by hand: the next page times a power of two above what is no such size itself.
  const rows: readonly (readonly [pageSize: number, maxEntries: number, fitted: number])[] = [
    [4096, 0, 0],
    [4096, 1, 4096],
    [4096, 4096, 4096],
    [4096, 4097, 8192],
    [4096, 5000, 8192],
    [4096, 12288, 16384],
    [4096, 262144, 262144],
    [16384, 4096, 16384],
    [16384, 16384, 16384],
    [16384, 20000, 32768],
    [65536, 4096, 65536],
    [65536, 65537, 131072],
    [65536, 262144, 262144],
    [4096, 2 ** 31, 2 ** 31],
    [4096, 2 ** 31 + 1, 2 ** 31 + 1],
    [65536, 0xffffffff, 0xffffffff],
  ];
  const possibleCpus = [0, 1, 2];
  for (const [pageSize, maxEntries, fitted] of rows) {
    for (const type of [BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE.BPF_MAP_TYPE_USER_RINGBUF])
      t.equal(fitEntries({ pageSize, possibleCpus }, type, maxEntries), fitted, `${maxEntries} with pages of ${pageSize}`);
  }
  const perf = BPF_MAP_TYPE.BPF_MAP_TYPE_PERF_EVENT_ARRAY;
  t.equal(fitEntries({ pageSize: 4096, possibleCpus }, perf, 0), 3, 'one for each possible CPU');
  t.equal(fitEntries({ pageSize: 4096, possibleCpus }, perf, 8), 8);
  t.equal(fitEntries({ pageSize: 65536, possibleCpus }, BPF_MAP_TYPE.BPF_MAP_TYPE_HASH, 5), 5);
});
