// SPDX-License-Identifier: Apache-2.0
// Opens, loads and attaches an object with libbpf and ends at the first record of its ring buffer: start-libbpf OBJECT MAP
//   gcc -O2 -o start-libbpf start-libbpf.c -lbpf
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>

static int on_record(void *ctx, void *data, size_t size)
{
	puts("event");
	exit(0);
}

int main(int argc, char **argv)
{
	struct bpf_object *object = argc > 2 ? bpf_object__open(argv[1]) : NULL;
	struct bpf_program *program;
	struct ring_buffer *ring;

	if (!object || bpf_object__load(object))
		return 1;
	bpf_object__for_each_program(program, object) {
		if (bpf_program__autoload(program) && !bpf_program__attach(program))
			return 1;
	}
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, argv[2]), on_record, NULL, NULL);
	while (ring && ring_buffer__poll(ring, -1) >= 0)
		;
	return 1;
}
