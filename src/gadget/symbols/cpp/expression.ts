import { type MangledCursor, Unreadable } from './cursor.ts';
import { type Node, parts, text } from './node.ts';
import { casts, literalSuffixes, operators } from './tables.ts';

/** What expressions have in them besides expressions. */
export interface Surroundings {
  readonly cursor: MangledCursor;
  readonly type: () => Node;
  /** Without a place among what may be referred to. */
  readonly templateParam: () => Node;
  readonly templateArgs: () => readonly Node[];
  readonly encoding: () => Node;
  readonly unqualified: () => Node;
}

/** An expression, as template arguments and decltype have them. Throws Unreadable. */
export function readExpression(around: Surroundings): Node {
  return around.cursor.nested(() => read(around));
}

/** `L ... E`: a number, a pointer to something that has a name, or the like. Throws Unreadable. */
export function readLiteral({ cursor, type, encoding }: Surroundings): Node {
  cursor.expect('L');
  if (cursor.take('_Z') || cursor.take('Z')) {
    const node = encoding();
    cursor.expect('E');
    return node.kind === 'entity' && node.result !== null ? parts(node.result, ' ', node) : node;
  }
  const letter = cursor.peek();
  const of = type();
  const end = cursor.text.indexOf('E', cursor.at);
  if (end < 0 || end - cursor.at > 512) throw new Unreadable('a literal has no end');
  const digits = cursor.text.slice(cursor.at, end);
  cursor.at = end + 1;
  if (letter === 'b' && (digits === '0' || digits === '1')) return text(digits === '1' ? 'true' : 'false');
  const value = digits.startsWith('n') ? `-${digits.slice(1)}` : digits;
  const suffix = literalSuffixes.get(letter);
  if (suffix !== undefined) return text(value + suffix);
  return parts('(', of, ')', 'fdeg'.includes(letter) ? `[${value}]` : value);
}

/** In brackets where it is more than a name. */
function operand(node: Node): Node {
  return node.kind === 'text' && /^[{A-Za-z_]/.test(node.text) && !/^(?:true|false)$/.test(node.text)
    ? node
    : node.kind === 'scoped'
      ? node
      : parts('(', node, ')');
}

function list(nodes: readonly Node[]): readonly (string | Node)[] {
  return nodes.flatMap((node, i) => (i === 0 ? [node] : [', ', node]));
}

function readList(around: Surroundings, end = 'E'): readonly Node[] {
  const found: Node[] = [];
  while (!around.cursor.take(end)) found.push(readExpression(around));
  return found;
}

function read(around: Surroundings): Node {
  const { cursor, type, templateParam } = around;
  const next = cursor.peek();
  if (next === 'L') return readLiteral(around);
  if (next === 'T') return templateParam();
  if (/^\d$/.test(next)) return name(around);
  const code = next + cursor.peek(1);
  const special = readSpecial(around, code);
  if (special !== null) return special;
  cursor.at += 2;
  const cast = casts.get(code);
  if (cast !== undefined) {
    const to = type();
    return parts(`${cast}<`, to, '>', '(', readExpression(around), ')');
  }
  const found = operators.get(code);
  if (found === undefined) throw new Unreadable(`no expression ${code}`);
  return operation(around, code, found.sign, found.operands);
}

function operation(around: Surroundings, code: string, sign: string, operands: number): Node {
  const { cursor } = around;
  switch (operands) {
    case 1: {
      // pp_ and mm_ stand before, pp and mm behind.
      const isBehind = (code === 'pp' || code === 'mm') && !cursor.take('_');
      const of = readExpression(around);
      // A member, which its class tells apart.
      if (code === 'ad' && of.kind === 'entity' && of.name.kind === 'scoped' && of.quals === '') return parts(sign, of.name);
      return isBehind ? parts(operand(of), sign) : parts(sign, operand(of));
    }
    case 2: {
      const left = readExpression(around);
      if (code === 'dt' || code === 'pt') return parts(operand(left), sign, name(around));
      const right = readExpression(around);
      if (code === 'ix') return parts(operand(left), '[', right, ']');
      const both = parts(operand(left), sign, operand(right));
      return sign === '>' ? parts('(', both, ')') : both;
    }
    case 3: {
      const [condition, yes, no] = [readExpression(around), readExpression(around), readExpression(around)];
      return parts(operand(condition), '?', operand(yes), ' : ', operand(no));
    }
    default: {
      if (code !== 'cl') throw new Unreadable(`no expression ${code}`);
      const callee = readExpression(around);
      return parts(
        callee.kind === 'text' || callee.kind === 'scoped' || callee.kind === 'template' ? callee : operand(callee),
        '(',
        ...list(readList(around)),
        ')',
      );
    }
  }
}

/** Those that are neither a name nor an operator with operands; null for another. */
function readSpecial(around: Surroundings, code: string): Node | null {
  const { cursor, type } = around;
  const taken = (): true => {
    cursor.at += 2;
    return true;
  };
  switch (code) {
    case 'st':
      return taken() && parts('sizeof (', type(), ')');
    case 'at':
      return taken() && parts('alignof (', type(), ')');
    case 'sz':
      return taken() && parts('sizeof ', operand(readExpression(around)));
    case 'az':
      return taken() && parts('alignof ', operand(readExpression(around)));
    case 'nx':
      return taken() && parts('noexcept', operand(readExpression(around)));
    case 'sp':
      return taken() && { kind: 'expansion', pattern: readExpression(around) };
    case 'il':
      return taken() && parts('{', ...list(readList(around)), '}');
    case 'tl': {
      taken();
      const of = type();
      return parts(of, '{', ...list(readList(around)), '}');
    }
    case 'cv': {
      taken();
      const of = type();
      if (cursor.take('_')) return parts('(', of, ')(', ...list(readList(around)), ')');
      return parts('(', of, ')', operand(readExpression(around)));
    }
    case 'fp': {
      taken();
      while (/^[rVK]$/.test(cursor.peek())) cursor.at++;
      if (cursor.take('T')) return text('this');
      return text(`{parm#${cursor.sequence() + 1}}`);
    }
    case 'sr': {
      taken();
      const scope = type();
      return { kind: 'scoped', scope, name: name(around) };
    }
    case 'on':
    case 'dn':
      return taken() && name(around);
    case 'gs':
      return taken() && parts('::', readExpression(around));
    default:
      return null;
  }
}

/** A name that is looked up where the template is used. */
function name({ cursor, unqualified, templateArgs }: Surroundings): Node {
  cursor.take('on');
  const plain = unqualified();
  return cursor.peek() === 'I' ? { kind: 'template', name: plain, args: templateArgs() } : plain;
}
