// The gadgets in a guest, each run through the library in one process (starting Node takes longer there than all the rest): does
// it load, what is attached, does it see what is done.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { deeds } from './deeds.mjs';

const TIMES = 5;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const numbers = (key, value) => (typeof value === 'bigint' ? Number(value) : value);

export const gadgetNames = () => readdirSync('gadgets').filter((name) => existsSync(`gadgets/${name}/gadget.yaml`));

/** The object for this machine. */
export function objectOf(name) {
  const own = `gadgets/${name}/program.bpf.${process.arch === 'arm64' ? 'arm64' : 'x86'}.o`;
  return existsSync(own) ? own : `gadgets/${name}/program.bpf.o`;
}

/** Runs all gadgets, or those given; `tell` gets an object for each. */
export async function runGadgets(names, tell) {
  const library = (file) => import(pathToFileURL(path.resolve('build/src', file)).href);
  const { runGadget, Kernel } = await library('index.js');
  const { parseMetadata } = await library('gadget/index.js');
  const kernel = new Kernel({ onNotice: () => {} });
  try {
    for (const name of names) tell({ name, ...(await runOne(name, { runGadget, parseMetadata, kernel })) });
  } finally {
    kernel.close();
  }
}

async function runOne(name, { runGadget, parseMetadata, kernel }) {
  const deed = deeds[name] ?? { none: 'no deed was written for it' };
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  const notices = [];
  let events;
  // Iterators read when they start: what they are to show has to be there.
  const before = name.startsWith('snapshot_');
  try {
    if (before) await deed.act();
    const yaml = `gadgets/${name}/gadget.yaml`;
    events = runGadget({
      kernel,
      name,
      object: readFileSync(objectOf(name)),
      metadata: parseMetadata(readFileSync(yaml, 'utf8'), yaml),
      params: deed.params ?? {},
      onNotice: (message) => notices.push(message),
      ...(name.startsWith('snapshot_') ? { fetchCount: 1 } : {}),
    });
  } catch (error) {
    deed.after?.();
    return { attached: [], notices, error: { code: error.code ?? '', message: String(error.message) }, none: null, seconds: seconds() };
  }
  const attached = [...events.run.attached];
  let rows = 0;
  let seen = 0;
  let failed = null;
  const reading = (async () => {
    for await (const event of events) {
      const json = JSON.stringify(event, numbers);
      rows++;
      if (deed.none === undefined && deed.seen(json, JSON.parse(json))) seen++;
    }
  })().catch((error) => (failed = { code: error.code ?? '', message: String(error.message) }));
  const wanted = deed.exact ? TIMES : 1;
  if (deed.none === undefined) {
    for (let i = 0; i < (deed.exact ? TIMES : 3) && !before; i++) {
      await deed.act();
      await pause(50);
    }
    for (let i = 0; i < 80 && seen < wanted; i++) await pause(250);
    await pause(300);
  }
  events.stop();
  await reading;
  deed.after?.();
  const { received, lost } = events.run.counters;
  return {
    attached,
    notices,
    error: failed,
    rows,
    seen,
    wanted,
    exact: deed.exact === true,
    none: deed.none ?? null,
    received,
    lost,
    seconds: seconds(),
  };
}
