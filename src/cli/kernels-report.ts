import { statSync } from 'node:fs';
import path from 'node:path';
import { checkKernels, offlineKernel, openObject, type KernelsReport, type OfflineKernel } from '../bpf/object/index.ts';
import type { Btf } from '../btf/index.ts';
import { layoutWanted, socketLayout } from '../enrich/sockets/layout.ts';
import { RawbpfError } from '../error.ts';
import { isFile, parseFile, readBtf, readFile, readFolder } from './read-input.ts';
import { printable } from '../bytes/printable.ts';
import { table } from './table.ts';

/** What objects would meet on the kernels whose BTF files lie in a folder. */
export function kernelsReport(folder: string, objects: readonly string[], strict: boolean): KernelsReport {
  const specs = objects.map((file) =>
    parseFile(file, (bytes) => openObject(bytes, { name: path.basename(file).replace(/\.o$/, ''), strict })),
  );
  // What `run` would give gadgets that ask who owns a socket; libbpf knows nothing of it.
  const layouts = strict ? [] : specs.map(layoutWanted).filter((layout) => layout !== null);
  const fields = {
    cwd: Math.max(0, ...layouts.map((each) => each.fields.cwd)),
    exepath: Math.max(0, ...layouts.map((each) => each.fields.exepath)),
  };
  return checkKernels(specs, readKernels(folder, layouts.length === 0 ? [] : [socketLayout(fields).btf]));
}

/** Whether nothing breaks anywhere that the object wants loaded. */
export function holdsEverywhere(report: KernelsReport): boolean {
  return report.rows.every((row) => !row.autoload || row.cells.every((cell) => cell.verdict !== 'breaks'));
}

/** The table, and below it why each cell that is not `ok` is not. */
export function kernelsText(report: KernelsReport): string {
  const rows = report.rows.map((row) => [`${row.object}: ${row.program}`, ...row.cells.map((cell) => cell.verdict)]);
  let text = table(['PROGRAM', ...report.kernels.map(printable)], rows);
  for (const row of report.rows) {
    for (const [i, cell] of row.cells.entries()) {
      for (const { kind, what, why, insn, source } of cell.problems) {
        const place = [source, insn === null ? null : `instruction ${insn}`].filter((part) => part !== null).join(', ');
        text += `${printable(`${row.program} on ${report.kernels[i] ?? ''}: ${kind} ${what}: ${why}${place === '' ? '' : ` (${place})`}`)}\n`;
      }
    }
  }
  for (const unchecked of report.unchecked) text += `not checked: ${printable(unchecked)}\n`;
  return text;
}

/** Every file of a folder that is BTF, raw or in an ELF file; NAME.config beside NAME.btf is its build configuration. */
function readKernels(folder: string, extraBtfs: readonly Btf[]): OfflineKernel[] {
  const names = readFolder(folder).filter((name) => !name.endsWith('.config') && isFile(path.join(folder, name)));
  if (names.length === 0) throw new RawbpfError({ code: 'E_KERNELS', what: `${folder} has no BTF files` });
  return names.toSorted(new Intl.Collator('en', { numeric: true }).compare).map((name) => {
    const kernel = name.replace(/\.btf$/, '');
    const config = path.join(folder, `${kernel}.config`);
    const text = statSync(config, { throwIfNoEntry: false })?.isFile() === true ? new TextDecoder().decode(readFile(config)) : null;
    return offlineKernel(kernel, readBtf(path.join(folder, name), null), {
      extraBtfs,
      ...(text === null ? {} : { config: text }),
    });
  });
}
