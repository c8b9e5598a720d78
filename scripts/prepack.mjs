// Runs before `npm pack`: what is packed is what the sources say.
import { build } from './setup.mjs';

build();
