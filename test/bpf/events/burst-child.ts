// Run by ringbuf-reader.kernel.test.ts: for a while writes small bursts into the ring buffer at descriptor 3, numbered from
// its first argument, and then prints how many records the kernel took.
import { defaultSys } from '../../../src/sys/default-sys.ts';
import { ringbufProducer } from './producer.ts';

const [first = 0, milliseconds = 0] = process.argv.slice(2).map(Number);
const producer = ringbufProducer(defaultSys(), 65536, 64, 3);
const end = performance.now() + milliseconds;
let taken = 0;
let state = first + 1;
while (performance.now() < end) {
  // Bursts of 1 to 8 with pauses of up to 100 us, so that the ring is often found just empty.
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  taken += producer.run(first + taken, 1 + ((state >>> 8) & 7));
  const pause = performance.now() + ((state >>> 16) % 100) / 1000;
  while (performance.now() < pause);
}
console.log(taken);
