// SPDX-License-Identifier: Apache-2.0
// libbpf's side of the benchmarks. The buffer's map is descriptor 3, JSON goes to descriptor 4.
//   gcc -O2 -o libbpf libbpf.c -lbpf
//   libbpf drain|json|perf    reads COUNT lines from stdin and drains that many records for each: "RECORDS SUM NS BYTES"
//   libbpf live               follows the buffer; a record numbered `stop` ends a window: "RECORDS SUM NS BYTES"
//   libbpf latency            the same; "RECORDS SUM NS 0 P50 P99": nanoseconds from the event to the callback
// NS is CPU time.
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* As bench/event.ts lays it out. */
struct event {
	uint64_t number;
	uint64_t time;
	uint32_t pid, tid, uid, gid;
	int32_t ret;
	uint32_t flags;
	uint64_t mntns;
	char comm[16];
};

static const uint32_t stop = 0xffffffff;
static uint64_t records, sum, bytes;
static char out[65536 + 1024];
static size_t used;
static uint32_t *times;
static size_t time_room;
static int stopped;

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* Nanoseconds of CPU. */
static uint64_t cpu_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void flush(void)
{
	size_t at = 0;

	while (at < used) {
		ssize_t n = write(4, out + at, used - at);

		if (n < 0 && errno != EINTR)
			exit(1);
		if (n > 0)
			at += n;
	}
	bytes += used;
	used = 0;
}

static void put_json(const struct event *e)
{
	/* A command name has to be escaped; printf has nothing for that. */
	char comm[16 * 6 + 1];
	int n = 0;

	for (int i = 0; i < 16 && e->comm[i]; i++) {
		unsigned char c = e->comm[i];

		if (c == '"' || c == '\\') {
			comm[n++] = '\\';
			comm[n++] = c;
		} else if (c < 0x20) {
			n += sprintf(comm + n, "\\u%04x", c);
		} else {
			comm[n++] = c;
		}
	}
	comm[n] = 0;
	used += snprintf(out + used, 1024,
			 "{\"comm\":\"%s\",\"flags\":%u,\"gid\":%u,\"mntns\":%lu,\"number\":%lu,\"pid\":%u,\"ret\":%d,\"tid\":%u,\"time\":%lu,\"uid\":%u}\n",
			 comm, e->flags, e->gid, e->mntns, e->number, e->pid, e->ret, e->tid, e->time, e->uid);
	if (used >= 65536)
		flush();
}

static int on_record(void *ctx, void *data, size_t size)
{
	uint64_t number;

	memcpy(&number, data, sizeof(number));
	records++;
	sum += number;
	return 0;
}

static int on_json(void *ctx, void *data, size_t size)
{
	const struct event *e = data;

	if ((uint32_t)e->number == stop) {
		stopped = 1;
		return 0;
	}
	records++;
	sum += e->number;
	put_json(e);
	return 0;
}

static int on_latency(void *ctx, void *data, size_t size)
{
	const struct event *e = data;

	if ((uint32_t)e->number == stop) {
		stopped = 1;
		return 0;
	}
	if (records == time_room) {
		time_room = time_room ? time_room * 2 : 4096;
		times = realloc(times, time_room * sizeof(*times));
	}
	times[records++] = now() - e->time;
	sum += e->number;
	return 0;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void on_sample(void *ctx, int cpu, void *data, __u32 size)
{
	on_record(ctx, data, size);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "drain";
	int json = !strcmp(mode, "json"), live = !strcmp(mode, "live"), latency = !strcmp(mode, "latency");
	struct perf_buffer *perf = NULL;
	struct ring_buffer *ring = NULL;
	char line[32];

	if (!strcmp(mode, "perf"))
		perf = perf_buffer__new(3, argc > 2 ? atoi(argv[2]) : 64, on_sample, NULL, NULL, NULL);
	else
		ring = ring_buffer__new(3, latency ? on_latency : json || live ? on_json : on_record, NULL, NULL);
	if (!ring && !perf)
		return 1;
	if (live || latency) {
		uint64_t start = cpu_time();

		puts("ready");
		fflush(stdout);
		for (;;) {
			if (ring_buffer__poll(ring, -1) < 0 && errno != EINTR)
				return 1;
			flush();
			if (!stopped)
				continue;
			stopped = 0;
			if (latency) {
				qsort(times, records, sizeof(*times), by_value);
				printf("%lu %lu %lu 0 %u %u\n", records, sum, cpu_time() - start, times[records / 2], times[records * 99 / 100]);
			} else {
				printf("%lu %lu %lu %lu\n", records, sum, cpu_time() - start, bytes);
			}
			fflush(stdout);
			records = sum = bytes = 0;
			start = cpu_time();
		}
	}
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t start;

		records = sum = bytes = 0;
		start = cpu_time();
		if ((perf ? perf_buffer__consume(perf) : ring_buffer__consume(ring)) < 0)
			return 1;
		flush();
		printf("%lu %lu %lu %lu\n", records, sum, cpu_time() - start, bytes);
		fflush(stdout);
	}
	ring_buffer__free(ring);
	perf_buffer__free(perf);
	return 0;
}
