import t from 'tap';
import { LinkSession } from '../../../src/bpf/object/index.ts';
import type { Btf } from '../../../src/btf/index.ts';
import { kernel, open } from './support.ts';

/** The declarations that a program's func_info names, in C's words. */
function declarations(btf: Btf, bytes: Uint8Array, recordSize: number): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / recordSize }, (_, i) => {
    const fn = btf.type(view.getUint32(i * recordSize + 4, true));
    const proto = fn.kind === 'FUNC' ? btf.type(fn.typeId) : null;
    if (proto?.kind !== 'FUNC_PROTO') return 'malformed';
    const params = proto.params.map(({ name, typeId }) => {
      const type = btf.type(typeId);
      const target = type.kind === 'PTR' ? btf.type(type.typeId) : null;
      return target === null ? `${type.name} ${name}` : `${target.kind === 'UNKN' ? 'void' : `struct ${target.name}`} *${name}`;
    });
    return `${fn.name}(${params.join(', ')})`;
  });
}

function linked(session: LinkSession): Map<string, string[]> {
  const infos = session.programs.map((program) => {
    const result = session.link(program);
    if (!result.ok) throw result.error;
    return [program.name, result.program.funcInfo] as const;
  });
  const { btf } = session;
  if (btf === null) throw new Error('no BTF');
  return new Map(infos.map(([name, { bytes, recordSize }]) => [name, declarations(btf, bytes, recordSize)]));
}

t.test('a kernel that knows the tag is given the object as it is', async (t) => {
  const session = new LinkSession(open('argctx'), kernel());
  t.same(linked(session).get('classify'), ['classify(struct __sk_buff *ctx)', 'any(void *ctx, int value)', 'right(struct __sk_buff *ctx)']);
  t.equal(session.btf, session.spec.btf);
});

t.test('an older one is told what the context is, for each type of program', async (t) => {
  const spec = open('argctx');
  const session = new LinkSession(spec, kernel({ has: (feature) => feature !== 'arg_ctx_tag' }));
  const found = linked(session);
  t.same(found.get('classify'), [
    'classify(struct __sk_buff *ctx)',
    'any(struct __sk_buff *ctx, int value)',
    'right(struct __sk_buff *ctx)',
  ]);
  t.same(found.get('trace'), ['trace(void *ctx)', 'any(struct bpf_raw_tracepoint_args *ctx, int value)']);
  t.same(found.get('call'), ['call(void *ctx)', 'any(void *ctx, int value)'], 'a type without a struct of its own');
  const { btf } = session;
  if (btf === null || spec.btf === null) throw new Error('no BTF');
  t.ok(btf.typeCount > spec.btf.typeCount);
  for (let id = 1; id < spec.btf.typeCount; id++) t.same(btf.type(id), spec.btf.type(id));
  const tags = btf.findAll('arg:ctx').map((id) => btf.type(id));
  t.equal(tags.length, spec.btf.findAll('arg:ctx').length + 2, 'the new functions are tagged too');
});
