// CRI-O for the rig: no suite of Debian's has it, so RAWBPF_CRIO names the program, with pinns (and crictl) beside it, or PATH has it.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

/** A program in the same folder as another one; else its name alone, for PATH. */
export function programBeside(program, name) {
  const beside = program === null ? '' : path.join(path.dirname(program), name);
  return fs.existsSync(beside) ? beside : name;
}

/** podman's client on CRI-O's storage: both keep images in the same way. */
const storage = (rig) => ['--root', path.join(rig.dir, 'crio/root'), '--runroot', path.join(rig.dir, 'crio/run')];

/** Puts an image into CRI-O's storage. */
export const loadIntoCrio = (rig, image) => execFileSync('podman', [...storage(rig), 'load', '-i', image], { env: rig.env, stdio: 'pipe' });

/** Writes CRI-O's configuration: all that it keeps lies below the rig's folder. */
export function configureCrio(rig, found, which) {
  const at = (...names) => path.join(rig.dir, 'crio', ...names);
  for (const folder of ['conf.d', 'exits', 'attach', 'ns', 'hooks', 'log']) fs.mkdirSync(at(folder), { recursive: true });
  // Sandboxes get a lower oom_score_adj, which takes CAP_SYS_RESOURCE to set.
  fs.writeFileSync(
    at('runc.sh'),
    `#!/bin/sh
before=
for word; do
	case $before in --bundle | -b) sed -i 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj":0/' "$word/config.json" ;; esac
	before=$word
done
exec ${which('runc')} "$@"
`,
    { mode: 0o755 },
  );
  fs.writeFileSync(
    at('crio.conf'),
    `[crio]
root = "${at('root')}"
runroot = "${at('run')}"
storage_driver = "overlay"
log_dir = "${at('log')}"
version_file = "${at('version')}"
version_file_persist = "${at('version.kept')}"
clean_shutdown_file = "${at('clean')}"
internal_wipe = false
[crio.api]
listen = "${rig.sockets['cri-o']}"
stream_port = "0"
[crio.runtime]
default_runtime = "runc"
cgroup_manager = "cgroupfs"
conmon = "${which('conmon')}"
conmon_cgroup = "pod"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
hooks_dir = ["${at('hooks')}"]
container_exits_dir = "${at('exits')}"
container_attach_socket_dir = "${at('attach')}"
namespaces_dir = "${at('ns')}"
pinns_path = "${programBeside(found.crio, 'pinns')}"
irqbalance_config_file = ""
enable_pod_events = true
drop_infra_ctr = false
[crio.runtime.runtimes.runc]
runtime_path = "${at('runc.sh')}"
runtime_type = "oci"
runtime_root = "${at('runc')}"
monitor_path = "${which('conmon')}"
monitor_cgroup = "pod"
monitor_env = ${JSON.stringify(['PATH', 'LD_LIBRARY_PATH'].map((name) => `${name}=${rig.env[name]}`))}
[crio.image]
pause_image = "docker.io/library/rigpause:1"
pause_command = ""
signature_policy = "${path.join(rig.dir, 'home/.config/containers/policy.json')}"
[crio.network]
network_dir = "${path.join(rig.dir, 'cni')}"
plugin_dirs = ["${found.cni}"]
[crio.nri]
enable_nri = false
`,
  );
}
