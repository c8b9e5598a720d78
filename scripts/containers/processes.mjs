// What /proc shows of processes, as a table that a test lays out again (test/enrich/runtimes/recorded-machine.ts).
import fs from 'node:fs';

/** Files of /proc/PID that tell of containers. */
const FILES = ['stat', 'status', 'comm', 'cgroup', 'uid_map'];
const NAMESPACES = ['mnt', 'net', 'pid', 'user'];

/** The processes, their parents, the first one, and the kernel's first thread. */
export function recordProcesses(pids) {
  return [...new Set([1, 2, ...pids, ...pids.map(parentOf)])].map((pid) => {
    const read = (name) => fs.readFileSync(`/proc/${pid}/${name}`, 'latin1');
    const files = Object.fromEntries(FILES.map((name) => [name, read(name)]));
    // Only where cgroups are mounted.
    if (pid === 1)
      files.mountinfo = read('mountinfo')
        .split('\n')
        .filter((line) => / - cgroup2? /.test(line))
        .join('\n');
    files.status = files.status
      .split('\n')
      .filter((line) => /^(?:Name|Pid|PPid|Uid|NSpid):/.test(line))
      .join('\n');
    const namespaces = Object.fromEntries(NAMESPACES.map((kind) => [kind, inode(`/proc/${pid}/ns/${kind}`)]).filter(([, ino]) => ino > 0));
    return { pid, files, namespaces };
  });
}

function parentOf(pid) {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}

/** 0 where it may not be seen, as those of a first process with more capabilities. */
function inode(file) {
  try {
    return fs.statSync(file).ino;
  } catch {
    return 0;
  }
}
