// The two scripts that process 1 of the guest runs, in busybox's shell.

// First stage, in the initramfs: load modules, put the overlay root together, change into it. It stays process 1
// throughout, so that the kernel's own helper calls (modprobe) see the new root too.
export const INIT = `#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t proc proc /proc; $bb mount -t sysfs sys /sys; $bb mount -t devtmpfs dev /dev
while read -r m; do $bb insmod /mod/$m || echo "vm-run: cannot load $m" >/dev/kmsg; done </mod/order
share() { $bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,$3 $1 "$2" || echo "vm-run: cannot mount $1" >/dev/kmsg; }
$bb mount -t tmpfs -o mode=755,size=75% rw /rw; $bb mkdir /rw/upper /rw/work
# On kernels before 6, paging a big program in over 9p goes 4 kB at a time: copy node to RAM in large uncached reads
# first. (On 6.12 and later such reads are the slow ones.)
if [ -s /preload ]; then
  share root /lower ro,cache=none
  while read -r f; do $bb mkdir -p "/rw/upper\${f%/*}"; $bb dd if="/lower$f" of="/rw/upper$f" bs=500k 2>/dev/null; $bb chmod 755 "/rw/upper$f"; done </preload
  $bb umount /lower
fi
share root /lower ro,cache=loose
$bb mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /new || echo "vm-run: cannot mount the overlay" >/dev/kmsg
$bb mkdir -p /new/proc /new/sys /new/dev /new/run /new/tmp /new/boot /new/lib/modules
$bb mount --move /proc /new/proc; $bb mount --move /sys /new/sys; $bb mount --move /dev /new/dev
$bb mount -t tmpfs -o mode=755 run /new/run; $bb mkdir /new/run/vm-run
$bb cp -a $bb /init2 /job /new/run/vm-run/
share modules /new/lib/modules ro,cache=loose
$bb ln -sf /lib/modules/$($bb uname -r)/config /new/boot/config-$($bb uname -r)
while read -r tag dir; do $bb mkdir -p "/new$dir"; share $tag "/new$dir" rw,cache=none; done </outs
exec $bb switch_root /new /run/vm-run/busybox sh /run/vm-run/init2
`;

// Second stage, in the new root: the usual mounts, lo, then the job with its output on virtio-serial ports.
export const INIT2 = `
bb=/run/vm-run/busybox
$bb mkdir -p /dev/pts /dev/shm
$bb mount -t devpts devpts /dev/pts; $bb mount -t tmpfs shm /dev/shm
for fs in "securityfs /sys/kernel/security" "debugfs /sys/kernel/debug" "tracefs /sys/kernel/tracing" "bpf /sys/fs/bpf" "cgroup2 /sys/fs/cgroup"; do
  set -- $fs; $bb mount -t $1 $1 $2
done
$bb ln -sf /proc/self/fd /dev/fd; $bb ln -sf fd/0 /dev/stdin; $bb ln -sf fd/1 /dev/stdout; $bb ln -sf fd/2 /dev/stderr
$bb hostname vm; $bb ip link set lo up
ulimit -l unlimited
while [ ! -c /dev/vport0p1 ] || [ ! -c /dev/vport0p2 ] || [ ! -c /dev/vport0p3 ]; do $bb usleep 20000; done
exec 9<>/dev/vport0p1
if [ -n "$vmrun_poke" ]; then echo "poke $($bb sed -n 's/ [a-zA-Z] bpf_map_types$//p' /proc/kallsyms)" >&9; read -r answer <&9; fi
cd /run/vm-run; $bb mkfifo out err
$bb cat <out >/dev/vport0p2 9>&- & o=$!
$bb cat <err >/dev/vport0p3 9>&- & e=$!
echo "ready" >&9
$bb setsid /bin/sh /run/vm-run/job </dev/null >out 2>err 9>&-
code=$?
n=0; while [ $n -lt 100 ] && { kill -0 $o || kill -0 $e; } 2>/dev/null; do $bb usleep 20000; n=$((n+1)); done
echo "exit $code $($bb awk '/^MemTotal|^MemAvailable/{printf "%d ", $2/1024}' /proc/meminfo)" >&9
$bb poweroff -f
`;
