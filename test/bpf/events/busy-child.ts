// Run by ringbuf-reader.kernel.test.ts: a program of this process reserves a record in the ring buffer at descriptor 3 and
// then sleeps for a second, in a page fault that userfaultfd(2) holds up. A process of its own, since the thread is stuck.
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { defaultSys } from '../../../src/sys/default-sys.ts';
import { check } from '../../../src/sys/errno.ts';
import { pageSize } from '../../../src/sys/page-size.ts';
import { loadBusyProgram, testRun } from './producer.ts';

// include/uapi/linux/userfaultfd.h
const UFFDIO_API = 0xc018aa3f;
const UFFDIO_REGISTER = 0xc020aa00;
const UFFDIO_ZEROPAGE = 0xc020aa04;
const sys = defaultSys();

interface Held {
  readonly uffd: number;
  readonly address: number;
}

function words(...values: readonly number[]): BigUint64Array {
  return BigUint64Array.from(values, BigInt);
}

function ioctl(fd: number, request: number, argument: BigUint64Array, name: string): void {
  check(sys.call('ioctl', fd, request, new Uint8Array(argument.buffer)), name);
}

function holdUp(): void {
  const page = pageSize();
  const uffd = check(sys.call('userfaultfd', 0o2000000), 'userfaultfd');
  ioctl(uffd, UFFDIO_API, words(0xaa, 0, 0), 'UFFDIO_API');
  const address = check(sys.call('mmap', 0, page, 3, 0x22, -1, 0), 'mmap');
  ioctl(uffd, UFFDIO_REGISTER, words(address, page, 1, 0), 'UFFDIO_REGISTER');
  const progFd = loadBusyProgram(sys, 3);
  const worker = new Worker(new URL(import.meta.url), { workerData: { uffd, address } satisfies Held });
  worker.on('online', () => {
    process.stdout.write('busy\n', () => {
      testRun(sys, progFd, [address]);
      process.stdout.write('done\n');
    });
  });
}

function letGo({ uffd, address }: Held): void {
  setTimeout(() => ioctl(uffd, UFFDIO_ZEROPAGE, words(address, pageSize(), 0, 0), 'UFFDIO_ZEROPAGE'), 1000);
}

if (isMainThread) holdUp();
else letGo(workerData as Held);
