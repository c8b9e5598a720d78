// SPDX-License-Identifier: Apache-2.0
// Drains the ring buffer at descriptor 3 with libbpf each time a line comes in, and answers "RECORDS SUM NANOSECONDS".
// gcc -O2 -o ring-libbpf ring-libbpf.c -lbpf
#include <bpf/libbpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t records, sum;

static int on_record(void *ctx, void *data, size_t size)
{
	uint64_t number;

	memcpy(&number, data, sizeof(number));
	records++;
	sum += number;
	return 0;
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

int main(void)
{
	struct ring_buffer *ring = ring_buffer__new(3, on_record, NULL, NULL);
	char line[16];

	if (!ring)
		return 1;
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t start;

		records = sum = 0;
		start = now();
		if (ring_buffer__consume(ring) < 0)
			return 1;
		printf("%lu %lu %lu\n", records, sum, now() - start);
		fflush(stdout);
	}
	ring_buffer__free(ring);
	return 0;
}
