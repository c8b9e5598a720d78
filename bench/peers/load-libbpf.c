// SPDX-License-Identifier: Apache-2.0
// Opens, relocates and loads an object with libbpf, and ends: load-libbpf OBJECT. Unlike `bpftool prog loadall` it pins nothing, and gives maps
// that the user is to size one entry, as `rawbpf check` does.
//   gcc -O2 -o load-libbpf load-libbpf.c -lbpf
#include <bpf/libbpf.h>

int main(int argc, char **argv)
{
	struct bpf_object *object = argc > 1 ? bpf_object__open(argv[1]) : NULL;
	struct bpf_map *map;

	if (!object)
		return 2;
	bpf_object__for_each_map(map, object) {
		if (bpf_map__max_entries(map) == 0 && bpf_map__type(map) != BPF_MAP_TYPE_RINGBUF &&
		    bpf_map__type(map) != BPF_MAP_TYPE_PERF_EVENT_ARRAY)
			bpf_map__set_max_entries(map, 1);
		bpf_map__set_pin_path(map, NULL);
	}
	return bpf_object__load(object) ? 1 : 0;
}
