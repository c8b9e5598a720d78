// Goes into the bundle, see bundle.mjs.
import { pathToFileURL } from 'node:url';

/** The URL that a module of the bundle would have outside of it. */
export function bundledUrl(place, bundle) {
  return new URL(place, pathToFileURL(bundle)).href;
}
