import { findClusterAccess } from '../enrich/kubernetes/access.ts';
import type { Cluster, ListWatchOptions } from '../enrich/kubernetes/index.ts';
import type { Gadget } from '../gadget/index.ts';
import { usage, type OptionSpec } from './options.ts';

/** Options of every command that shows names of a Kubernetes cluster. */
export const clusterOptions: readonly OptionSpec[] = [
  { name: 'k8s', help: 'names out of a Kubernetes cluster; on in a pod and with $KUBECONFIG, --k8s=false turns it off' },
  { name: 'kubeconfig', value: 'FILE', help: 'how to reach that cluster (else $KUBECONFIG, the pod, ~/.kube/config)' },
  { name: 'k8s-context', value: 'NAME', help: 'a context of the kubeconfig' },
];

/** How long the first list of a cluster is waited for. */
const patienceMs = 5000;

/**
 * The cluster whose names are wanted, by arguments of which not all are known yet; null for none. It is not asked for anything
 * before {@link startCluster}.
 */
export async function clusterOf(args: readonly string[], notice: (message: string) => void): Promise<Cluster | null> {
  const kubeconfig = valueOf(args, 'kubeconfig');
  const context = valueOf(args, 'k8s-context');
  const wanted = args.findLast((arg) => arg === '--k8s' || arg.startsWith('--k8s='));
  if (wanted === '--k8s=false') return null;
  // A cluster that only lies in somebody's home folder is asked when it is asked for.
  const env = wanted === undefined && kubeconfig === null && context === null ? { ...process.env, HOME: '/nonexistent' } : process.env;
  const access = findClusterAccess({
    env,
    ...(kubeconfig === null ? {} : { kubeconfig }),
    ...(context === null ? {} : { context }),
  });
  if (access === null && wanted !== undefined) {
    throw usage('--k8s finds no cluster', 'give --kubeconfig FILE, or set $KUBECONFIG');
  }
  const options: ListWatchOptions = { onNotice: notice };
  if (access === null) return null;
  const { Cluster } = await import('../enrich/kubernetes/cluster.ts');
  return new Cluster(access, options);
}

/** Whether any event of a gadget has an address that a cluster could name. */
export function hasEndpoints(gadget: Gadget): boolean {
  return gadget.sources.some((source) => source.fields.some((field) => field.name.endsWith('.k8s.kind')));
}

/** Begins to follow the cluster, and waits a while for its first list: events that come before have raw addresses. */
export async function startCluster(cluster: Cluster, notice: (message: string) => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), patienceMs);
  });
  const first = await Promise.race([cluster.start(), late]);
  clearTimeout(timer);
  if (first === 'late') notice(`Kubernetes has not told everything in ${patienceMs / 1000} s: names come later`);
}

function valueOf(args: readonly string[], name: string): string | null {
  const at = args.findLastIndex((arg) => arg === `--${name}` || arg.startsWith(`--${name}=`));
  if (at < 0) return null;
  const arg = args[at] ?? '';
  return arg.includes('=') ? arg.slice(arg.indexOf('=') + 1) : (args[at + 1] ?? null);
}
