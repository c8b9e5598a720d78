import t from 'tap';
import { Kallsyms, readKallsyms } from '../../../src/bpf/kernel/kallsyms.ts';
import { KernelConfig } from '../../../src/bpf/kernel/kconfig.ts';

t.test('kernel config', async (t) => {
  const config = new KernelConfig('CONFIG_FIRST=y\n# CONFIG_OFF is not set\nCONFIG_HZ=250\nCONFIG_NAME="a=b"\nCONFIG_HZ_250=y', 'test');
  t.equal(config.get('CONFIG_FIRST'), 'y');
  t.equal(config.get('CONFIG_HZ'), '250');
  t.equal(config.get('CONFIG_NAME'), '"a=b"');
  t.equal(config.get('CONFIG_HZ_250'), 'y');
  t.equal(config.get('CONFIG_OFF'), null);
  t.equal(config.get('CONFIG_H'), null);
  t.throws(() => config.get('x\nCONFIG_HZ'), { code: 'E_KCONFIG_NAME' });
  t.same(config.names(), ['CONFIG_FIRST', 'CONFIG_OFF', 'CONFIG_HZ', 'CONFIG_NAME', 'CONFIG_HZ_250']);
});

t.test('kallsyms that cannot be read', async (t) => {
  const path = '/nonexistent/kallsyms';
  t.throws(() => readKallsyms(path), { code: 'E_KALLSYMS', where: { path }, cause: { code: 'ENOENT' } });
});

t.test('kallsyms', async (t) => {
  const text = [
    'ffffffff81000000 T _stext',
    'ffffffff81000010 t dup',
    'ffffffff81000020 t dup',
    '0000000000000000 A fixed_percpu_data',
    'ffffffff81000030 d thing.llvm.123',
    'ffffffff81000040 t func.llvm.123',
    'ffffffffc0000000 t mod_func\t[some_mod]',
    'ffffffff81000050 D last',
  ].join('\n');
  const kallsyms = new Kallsyms(Buffer.from(text));
  t.equal(kallsyms.address('_stext'), 0xffffffff81000000n);
  t.equal(kallsyms.address('fixed_percpu_data'), 0n);
  t.equal(kallsyms.address('thing'), 0xffffffff81000030n);
  t.equal(kallsyms.address('func'), null);
  t.equal(kallsyms.address('mod_func'), 0xffffffffc0000000n);
  t.equal(kallsyms.address('last'), 0xffffffff81000050n);
  t.equal(kallsyms.address('las'), null);
  t.equal(kallsyms.address('T'), null);
  t.equal(kallsyms.address(''), null);
  t.throws(() => kallsyms.address('dup'), { code: 'E_KSYM_AMBIGUOUS' });
  t.same([...kallsyms].at(-2), { address: 0xffffffffc0000000n, type: 't', name: 'mod_func', module: 'some_mod' });
  t.equal([...kallsyms].length, 8);
});
