import t from 'tap';
import { Kallsyms } from '../../../src/bpf/kernel/kallsyms.ts';
import { KernelFunctions } from '../../../src/bpf/kernel/kernel-functions.ts';
import { stackText } from '../../../src/gadget/kernel-stacks.ts';

const text = `ffffffff81000000 T _stext
ffffffff81000000 t alias
ffffffff81000100 D not_code
ffffffff81000200 t middle
ffffffffc0001000 t in_module\t[some_module]
ffffffff81000080 W weak
0000000000000000 T hidden
bad line
ffffffff81000300 T last`;

void t.test('the function that an address lies in', (t) => {
  const symbols = new KernelFunctions(new Kallsyms(Buffer.from(text)));
  t.equal(symbols.size, 6);
  const cases: readonly (readonly [bigint, string | null])[] = [
    [0xffffffff81000000n, '_stext'],
    [0xffffffff8100007fn, '_stext'],
    [0xffffffff81000080n, 'weak'],
    [0xffffffff81000150n, 'weak'],
    [0xffffffff81000200n, 'middle'],
    [0xffffffff81000300n, 'last'],
    [0xffffffffc0001004n, 'in_module'],
    [0xffffffff80ffffffn, null],
    [0n, null],
  ];
  for (const [address, name] of cases) t.equal(symbols.nameOf(address), name, address.toString(16));
  const stack = new BigUint64Array([0xffffffff81000201n, 0x10n, 0xffffffff81000301n, 0n, 0xffffffff81000201n]);
  t.equal(stackText(new Uint8Array(stack.buffer), symbols), 'middle; [unknown]; last');
  t.equal(new KernelFunctions([]).nameOf(1n), null);
  t.equal(KernelFunctions.read('/nonexistent').size, 0);
  t.end();
});
