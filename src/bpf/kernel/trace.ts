import type { AppliedCoreRelocation } from '../object/linked.ts';
import type { KernelFeature } from './features.ts';
import type { Notice } from './notice.ts';

/** One step of loading, told to the listener of {@link KernelOptions.trace} as it happens. */
export type TraceEvent =
  | { readonly step: 'probe'; readonly feature: KernelFeature; readonly supported: boolean }
  | { readonly step: 'btf'; readonly name: string; readonly bytes: number; readonly fd: number }
  | {
      readonly step: 'map';
      readonly name: string;
      readonly type: number;
      readonly keySize: number;
      readonly valueSize: number;
      readonly maxEntries: number;
      readonly flags: number;
      readonly fd: number;
      /** How it came to be: created, taken from the caller, or found pinned. */
      readonly from: 'created' | 'replaced' | 'pinned';
    }
  | { readonly step: 'map_contents'; readonly name: string; readonly bytes: number; readonly frozen: boolean }
  | { readonly step: 'relocation'; readonly program: string; readonly relocation: AppliedCoreRelocation }
  | { readonly step: 'program'; readonly name: string; readonly type: number; readonly insnCount: number; readonly fd: number }
  | { readonly step: 'attach'; readonly program: string; readonly kind: string; readonly target: string }
  | { readonly step: 'notice'; readonly notice: Notice };

export type TraceListener = (event: TraceEvent) => void;
