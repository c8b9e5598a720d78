import t from 'tap';
import { fileURLToPath } from 'node:url';
import { FunctionOffsets, functionOffset } from '../../../src/bpf/link/function-offsets.ts';

const path = fileURLToPath(new URL('../../../../fixtures/elf/versions.so', import.meta.url));

// Addresses by `readelf -W --dyn-syms -s`; code lies in the file as in memory.
void t.test('an old version of a function is not what its name means', (t) => {
  t.equal(functionOffset(path, 'answer'), 0x372, 'answer@@FIXTURE_2, which comes second in the file');
  t.equal(new FunctionOffsets().find(path, 'answer'), 0x372);
  t.equal(functionOffset(path, 'answer@FIXTURE_1'), 0x36c);
  t.equal(functionOffset(path, 'answer@@FIXTURE_2'), 0x372);
  t.throws(() => functionOffset(path, 'answer@FIXTURE_3'), { code: 'E_SYMBOL', message: /no such version.*FIXTURE_1 and FIXTURE_2/s });
  t.end();
});

void t.test('of several functions of a name the one that the linker takes', (t) => {
  t.equal(functionOffset(path, 'both'), 0x39f, 'global before local');
  t.equal(functionOffset(path, 'weak_one'), 0x37e);
  t.throws(() => functionOffset(path, 'twice'), { code: 'E_SYMBOL', message: /several functions.*0x364 and 0x39b/s });
  const offsets = new FunctionOffsets();
  t.equal(offsets.findExported(path, 'kept'), 0x378);
  t.equal(offsets.findExported(path, 'twice'), null, 'local');
  t.equal(offsets.find(path, 'twice'), 0x364, 'the first');
  t.throws(() => functionOffset(path, 'answr'), { code: 'E_SYMBOL', message: /did you mean answer/ });
  t.end();
});
