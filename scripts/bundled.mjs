// Goes into the bundle, see bundle.mjs.
import { pathToFileURL } from 'node:url';

/** The URL that a module of the bundle would have outside of it. */
export function bundledUrl(place, bundle) {
  return new URL(place, pathToFileURL(bundle)).href;
}

/** Makes getters of a module's exports that load it at first use. */
export function lateBuiltin(exports, require, name, names) {
  for (const key of names.split(' ')) {
    Object.defineProperty(exports, key, { enumerable: true, configurable: true, get: () => require(name)[key] });
  }
}
