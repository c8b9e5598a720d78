#!/bin/sh
# A container without a daemon, in the foreground: bare.sh DIR RUNTIME NAME WORD...
# DIR/rootfs is what it sees; it is never written to.
set -e
dir=$1 runtime=$2 name=$3
shift 3
here=$dir/bare/$runtime
mkdir -p "$here"
case $runtime in
runc | crun)
	bundle=$here/bundles/$name
	mkdir -p "$bundle"
	words=
	for word; do words="$words,\"$word\""; done
	sed -e "s|@ROOTFS@|$dir/rootfs|" -e "s|@WORDS@|${words#,}|" -e "s|@NAME@|$name|" "$dir/bundle.json" >"$bundle/config.json"
	if [ "$runtime" = crun ] && [ -d /sys/fs/cgroup/unified ]; then
		# crun refuses hybrid layouts whose second version has a controller: it sees the first alone.
		unshare -m --propagation private sh -c 'umount /sys/fs/cgroup/unified; exec "$@"' sh crun --root "$here/state" run --bundle "$bundle" "$name"
	else
		"$runtime" --root "$here/state" run --bundle "$bundle" "$name"
	fi
	rm -r "$bundle"
	;;
lxc)
	mkdir -p "$here/mount"
	cat >"$here/$name.conf" <<-END
		lxc.rootfs.path = dir:$dir/rootfs
		lxc.rootfs.mount = $here/mount
		lxc.uts.name = $name
		lxc.net.0.type = empty
		lxc.mount.auto = proc:rw
	END
	lxc-execute -n "$name" -P "$here" -f "$here/$name.conf" -- "$@"
	rm -r "$here/$name.conf"
	;;
systemd-nspawn)
	exec systemd-nspawn -q --register=no --keep-unit --read-only -D "$dir/rootfs" -M "$name" --private-network "$@"
	;;
*)
	echo "bare.sh: unknown runtime $runtime" >&2
	exit 2
	;;
esac
