// SPDX-License-Identifier: Apache-2.0
// What libbpf makes of BTF, for comparison. Not part of the tests: fixtures/README.md says how expected files were made.
//   btf fixup FILE OUT                     the object's BTF once libbpf has loaded it
//   btf sanitize FILE MASK OUT             the same, made for a kernel that lacks the features in MASK
//   btf dedup IN OUT [BASE]                btf__dedup
//   btf distill BASE SPLIT OUTBASE OUT     btf__distill_base
//   btf relocate OLDBASE SPLIT BASE OUT    btf__relocate
// Build: gcc -Ilibbpf/src -Ilibbpf/include -Ilibbpf/include/uapi -o btf btf.c libbpf/src/libbpf.a -lelf -lz
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "libbpf.h"
#include "btf.h"
#include "libbpf_internal.h"

static const int features[] = {
	FEAT_BTF_FUNC, FEAT_BTF_GLOBAL_FUNC, FEAT_BTF_DATASEC, FEAT_BTF_QMARK_DATASEC, FEAT_BTF_FLOAT,
	FEAT_BTF_DECL_TAG, FEAT_BTF_TYPE_TAG, FEAT_BTF_ENUM64, FEAT_BTF_LAYOUT,
};

static int print(enum libbpf_print_level level, const char *format, va_list args)
{
	return getenv("VERBOSE") ? vfprintf(stderr, format, args) : 0;
}

static int put(const struct btf *btf, const char *path)
{
	__u32 size;
	const void *data = btf__raw_data(btf, &size);
	FILE *file = fopen(path, "wb");

	if (!data || !file || fwrite(data, 1, size, file) != size || fclose(file))
		return 1;
	return 0;
}

static int fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return 2;
}

static int object(char **argv)
{
	struct bpf_object *obj = bpf_object__open(argv[2]);
	struct btf *btf, *sanitized;

	if (!obj)
		return fail("open");
	btf = bpf_object__btf(obj);
	if (!btf)
		return fail("no BTF");
	/* Foreign byte order can be opened, not loaded. */
	if (getenv("LOAD") && bpf_object__load(obj))
		return fail("load");
	if (!strcmp(argv[1], "fixup"))
		return put(btf, argv[3]);

	struct kern_feature_cache *cache = calloc(1, sizeof(*cache));
	unsigned long mask = strtoul(argv[3], NULL, 0);

	for (int i = 0; i < __FEAT_CNT; i++)
		cache->res[i] = FEAT_SUPPORTED;
	for (unsigned int i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		if (mask & (1ul << i))
			cache->res[features[i]] = FEAT_MISSING;
	bpf_object_set_feat_cache(obj, cache);
	sanitized = bpf_object__sanitize_btf(obj, btf);
	if (libbpf_get_error(sanitized) || !sanitized)
		return fail("sanitize");
	return put(sanitized, argv[4]);
}

int main(int argc, char **argv)
{
	libbpf_set_print(print);
	if (argc < 4)
		return 9;
	if (!strcmp(argv[1], "fixup") || !strcmp(argv[1], "sanitize"))
		return object(argv);
	if (!strcmp(argv[1], "dedup")) {
		struct btf *base = argc > 4 ? btf__parse(argv[4], NULL) : NULL;
		struct btf *btf = btf__parse_split(argv[2], base);

		if (!btf)
			return fail("parse");
		return btf__dedup(btf, NULL) ? fail("dedup") : put(btf, argv[3]);
	}
	if (!strcmp(argv[1], "distill") && argc > 5) {
		struct btf *base = btf__parse(argv[2], NULL), *split = btf__parse_split(argv[3], base), *new_base, *new_split;

		if (!base || !split)
			return fail("parse");
		if (btf__distill_base(split, &new_base, &new_split))
			return fail("distill");
		return put(new_base, argv[4]) || put(new_split, argv[5]);
	}
	if (!strcmp(argv[1], "relocate") && argc > 5) {
		struct btf *old = btf__parse(argv[2], NULL), *split = btf__parse_split(argv[3], old), *base = btf__parse(argv[4], NULL);

		if (!old || !split || !base)
			return fail("parse");
		return btf__relocate(split, base) ? fail("relocate") : put(split, argv[5]);
	}
	return 9;
}
