// SPDX-License-Identifier: Apache-2.0
/*
 * What libbpf makes of BPF objects, as JSON, one line per object: a test oracle, never part of the product.
 *
 * The bpf() calls that libbpf makes are intercepted (link with -Wl,--wrap=syscall), so that the instructions of a program
 * are seen after every relocation also where the kernel refuses it; file descriptors in them are zeroed.
 *
 *   relocate [OPTIONS] OBJECT...
 *     --btf FILE      CO-RE target (btf_custom_path) instead of the running kernel's BTF
 *     --kconfig TEXT  kconfig lines, before those of the running kernel
 *     --load          load programs into the kernel, and tell their tags; without it they are captured only, and always "load"
 *     --fake-maps     let maps that the kernel refuses seem created
 *     --all           set autoload for every program, those of `?` sections too
 *     --alone         where the object fails as a whole, try each program alone
 *     --each          always try each program alone
 *     --no-pin        forget the pin paths of maps
 *     --info          add func_info, line_info and CO-RE records as hex
 *     --log           add libbpf's debug log
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__GLIBC__) && !__GLIBC_PREREQ(2, 38)
/* A libbpf built where glibc is newer refers to these names. */
int __isoc23_sscanf(const char *text, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsscanf(text, format, args);
	va_end(args);
	return n;
}

int __isoc23_fscanf(FILE *file, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vfscanf(file, format, args);
	va_end(args);
	return n;
}

unsigned long long __isoc23_strtoull(const char *text, char **end, int base)
{
	return strtoull(text, end, base);
}
#endif

static struct {
	const char *btf, *kconfig;
	bool load, fake_maps, all, alone, each, no_pin, info, log;
} opt;

/* What happened to one program: filled when libbpf asks the kernel to load it. */
struct capture {
	bool seen;
	int ret; /* fd or -errno of the last try */
	__u32 insn_cnt;
	struct bpf_insn *insns;
	__u32 type, attach_type, flags, attach_btf_id, attach_prog_fd;
	bool module_fds;
	__u32 func_rec, func_cnt, line_rec, line_cnt;
	void *func, *line;
	bool tagged;
	__u8 tag[BPF_TAG_SIZE];
};

static struct bpf_object *current;
static struct capture *captures;
static size_t capture_cnt;

static struct {
	char name[BPF_OBJ_NAME_LEN + 1];
	__u32 type, key, value, entries, flags, numa, key_id, value_id;
	__u64 extra;
	int ret;
} *creates;
static size_t create_cnt;

static char *log_text;
static size_t log_len, log_cap;

static void *copy(__u64 address, size_t size)
{
	void *bytes = size ? malloc(size) : NULL;

	if (bytes)
		memcpy(bytes, (void *)(uintptr_t)address, size);
	return bytes;
}

static int program_index(const struct bpf_insn *insns)
{
	struct bpf_program *prog;
	int i = 0;

	if (!current)
		return -1;
	bpf_object__for_each_program(prog, current) {
		if (bpf_program__insns(prog) == insns)
			return i;
		i++;
	}
	return -1;
}

/* Zeroes what differs from run to run: fds of maps and BTF objects. */
static void zero_fds(struct bpf_insn *insns, __u32 count)
{
	for (__u32 i = 0; i < count; i++) {
		if (insns[i].code != (BPF_LD | BPF_IMM | BPF_DW))
			continue;
		if (i + 1 < count) {
			if (insns[i].src_reg == BPF_PSEUDO_MAP_FD || insns[i].src_reg == BPF_PSEUDO_MAP_VALUE)
				insns[i].imm = 0;
			if (insns[i].src_reg == BPF_PSEUDO_BTF_ID)
				insns[i + 1].imm = 0;
		}
		i++;
	}
}

static int fake_fd(void)
{
	int fd = memfd_create("fake", MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, 1 << 30))
		return -1;
	return fd;
}

static bool is_fake(__u32 fd)
{
	char path[32], target[32] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%u", fd);
	return readlink(path, target, sizeof(target) - 1) > 0 && !strncmp(target, "/memfd:fake", 11);
}

long __real_syscall(long nr, ...);
long __wrap_syscall(long nr, long a, long b, long c, long d, long e, long f);

/* The kernel's hash of a loaded program. */
static bool read_tag(int fd, __u8 *tag)
{
	struct bpf_prog_info info = {};
	union bpf_attr attr = {};

	attr.info.bpf_fd = fd;
	attr.info.info = (__u64)(uintptr_t)&info;
	attr.info.info_len = sizeof(info);
	if (__real_syscall(__NR_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)))
		return false;
	memcpy(tag, info.tag, BPF_TAG_SIZE);
	return true;
}

long __wrap_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	union bpf_attr *attr = (union bpf_attr *)b;
	long ret;

	if (nr != __NR_bpf)
		return __real_syscall(nr, a, b, c, d, e, f);

	if (a == BPF_PROG_LOAD && attr) {
		int i = program_index((void *)(uintptr_t)attr->insns);

		if (i < 0 || (size_t)i >= capture_cnt)
			return __real_syscall(nr, a, b, c, d, e, f);
		struct capture *cap = &captures[i];

		cap->seen = true;
		cap->insn_cnt = attr->insn_cnt;
		free(cap->insns);
		cap->insns = copy(attr->insns, attr->insn_cnt * sizeof(struct bpf_insn));
		zero_fds(cap->insns, cap->insn_cnt);
		cap->type = attr->prog_type;
		cap->attach_type = attr->expected_attach_type;
		cap->flags = attr->prog_flags;
		cap->attach_btf_id = attr->attach_btf_id;
		cap->attach_prog_fd = !!attr->attach_prog_fd;
		cap->module_fds = !!attr->fd_array;
		cap->func_rec = attr->func_info_rec_size;
		cap->line_rec = attr->line_info_rec_size;
		cap->func_cnt = attr->func_info_cnt;
		cap->line_cnt = attr->line_info_cnt;
		free(cap->func);
		free(cap->line);
		cap->func = copy(attr->func_info, (size_t)cap->func_rec * cap->func_cnt);
		cap->line = copy(attr->line_info, (size_t)cap->line_rec * cap->line_cnt);
		ret = opt.load ? __real_syscall(nr, a, b, c, d, e, f) : fake_fd();
		cap->ret = ret < 0 ? -errno : 0;
		cap->tagged = opt.load && ret >= 0 && read_tag(ret, cap->tag);
		return ret;
	}

	if (a == BPF_MAP_CREATE && attr && current) {
		ret = __real_syscall(nr, a, b, c, d, e, f);
		int err = errno;

		creates = reallocarray(creates, create_cnt + 1, sizeof(*creates));
		memset(&creates[create_cnt], 0, sizeof(*creates));
		memcpy(creates[create_cnt].name, attr->map_name, BPF_OBJ_NAME_LEN);
		creates[create_cnt].type = attr->map_type;
		creates[create_cnt].key = attr->key_size;
		creates[create_cnt].value = attr->value_size;
		creates[create_cnt].entries = attr->max_entries;
		creates[create_cnt].flags = attr->map_flags;
		creates[create_cnt].numa = attr->numa_node;
		creates[create_cnt].key_id = attr->btf_key_type_id;
		creates[create_cnt].value_id = attr->btf_value_type_id;
		creates[create_cnt].extra = attr->map_extra;
		creates[create_cnt].ret = ret < 0 ? -err : 0;
		create_cnt++;
		/* libbpf first tries again without BTF ids; only then pretend */
		if (ret < 0 && opt.fake_maps && strncmp(attr->map_name, "libbpf_", 7) && !attr->btf_key_type_id &&
		    !attr->btf_value_type_id)
			return fake_fd();
		errno = err;
		return ret;
	}

	if (opt.fake_maps && attr && (a == BPF_MAP_UPDATE_ELEM || a == BPF_MAP_FREEZE) && is_fake(attr->map_fd))
		return 0;
	/* The running kernel can't take a captured program as an element of a prog array, nor bind a map to it. */
	if (!opt.load && attr && a == BPF_MAP_UPDATE_ELEM && attr->value && is_fake(*(__u32 *)(uintptr_t)attr->value))
		return 0;
	if (!opt.load && attr && a == BPF_PROG_BIND_MAP)
		return 0;
	return __real_syscall(nr, a, b, c, d, e, f);
}

static int print(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[4096];
	int n = vsnprintf(line, sizeof(line), format, args);

	(void)level;
	if (!opt.log || n < 0)
		return 0;
	if (n >= (int)sizeof(line))
		n = sizeof(line) - 1;
	if (log_len + n + 1 > log_cap) {
		log_cap = (log_len + n + 1) * 2;
		log_text = realloc(log_text, log_cap);
	}
	memcpy(log_text + log_len, line, n + 1);
	log_len += n;
	return 0;
}

static void json_string(const char *text)
{
	if (!text) {
		printf("null");
		return;
	}
	putchar('"');
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '\\')
			printf("\\%c", *p);
		else if (*p < 0x20 || *p >= 0x7f)
			printf("\\u%04x", *p);
		else
			putchar(*p);
	}
	putchar('"');
}

static void json_hex(const char *name, const void *bytes, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = bytes;

	printf(",\"%s\":\"", name);
	for (size_t i = 0; i < size; i++) {
		putchar(digits[p[i] >> 4]);
		putchar(digits[p[i] & 15]);
	}
	putchar('"');
}

static void reset(void)
{
	for (size_t i = 0; i < capture_cnt; i++) {
		free(captures[i].insns);
		free(captures[i].func);
		free(captures[i].line);
	}
	free(captures);
	free(creates);
	captures = NULL;
	creates = NULL;
	capture_cnt = create_cnt = 0;
	log_len = 0;
	if (log_text)
		log_text[0] = 0;
}

static struct bpf_object *open_object(const char *path)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .btf_custom_path = opt.btf, .kconfig = opt.kconfig);
	struct bpf_object *obj = bpf_object__open_file(path, &opts);
	struct bpf_map *map;
	struct bpf_program *prog;

	if (!obj)
		return NULL;
	if (opt.no_pin)
		bpf_object__for_each_map(map, obj)
			bpf_map__set_pin_path(map, NULL);
	if (opt.all)
		bpf_object__for_each_program(prog, obj)
			bpf_program__set_autoload(prog, true);
	bpf_object__for_each_program(prog, obj)
		capture_cnt++;
	captures = calloc(capture_cnt + 1, sizeof(*captures));
	return obj;
}

static void program_json(struct bpf_program *prog, const struct capture *cap)
{
	printf("{\"name\":");
	json_string(bpf_program__name(prog));
	printf(",\"section\":");
	json_string(bpf_program__section_name(prog));
	printf(",\"autoload\":%s,\"type\":%u,\"attachType\":%u", bpf_program__autoload(prog) ? "true" : "false",
	       bpf_program__type(prog), bpf_program__expected_attach_type(prog));
	if (cap->seen) {
		printf(",\"result\":%d,\"flags\":%u,\"attachBtfId\":%u,\"fdArray\":%s", cap->ret, cap->flags, cap->attach_btf_id,
		       cap->module_fds ? "true" : "false");
		json_hex("insns", cap->insns, cap->insn_cnt * sizeof(struct bpf_insn));
		if (cap->tagged)
			json_hex("tag", cap->tag, sizeof(cap->tag));
		if (opt.info) {
			printf(",\"funcRecordSize\":%u,\"lineRecordSize\":%u", cap->func_rec, cap->line_rec);
			json_hex("funcInfo", cap->func, (size_t)cap->func_rec * cap->func_cnt);
			json_hex("lineInfo", cap->line, (size_t)cap->line_rec * cap->line_cnt);
		}
	} else {
		printf(",\"insns\":null");
	}
	printf("}");
}

/* Loads the open object; the programs that were not seen keep insns null. */
static int load_and_print(struct bpf_object *obj, struct bpf_program *only)
{
	struct bpf_program *prog;
	struct bpf_map *map;
	int i = 0, err;
	bool first = true;

	current = obj;
	err = bpf_object__load(obj);
	current = NULL;

	printf("\"loaded\":%s,\"error\":%d,\"programs\":[", err ? "false" : "true", err);
	bpf_object__for_each_program(prog, obj) {
		if (!only || prog == only) {
			printf("%s", first ? "" : ",");
			program_json(prog, &captures[i]);
			first = false;
		}
		i++;
	}
	printf("]");
	if (!only) {
		printf(",\"maps\":[");
		first = true;
		bpf_object__for_each_map(map, obj) {
			printf("%s{\"name\":", first ? "" : ",");
			first = false;
			json_string(bpf_map__name(map));
			printf(",\"type\":%u,\"keySize\":%u,\"valueSize\":%u,\"maxEntries\":%u,\"flags\":%u,\"numaNode\":%u,\"mapExtra\":\"%llu\"",
			       bpf_map__type(map), bpf_map__key_size(map), bpf_map__value_size(map), bpf_map__max_entries(map),
			       bpf_map__map_flags(map), bpf_map__numa_node(map), (unsigned long long)bpf_map__map_extra(map));
			printf(",\"keyTypeId\":%u,\"valueTypeId\":%u,\"internal\":%s,\"autocreate\":%s,\"pin\":", bpf_map__btf_key_type_id(map),
			       bpf_map__btf_value_type_id(map), bpf_map__is_internal(map) ? "true" : "false",
			       bpf_map__autocreate(map) ? "true" : "false");
			json_string(bpf_map__pin_path(map));
			size_t size = 0;
			const void *initial = bpf_map__initial_value(map, &size);

			if (opt.info && initial && size <= 1 << 16)
				json_hex("initial", initial, size);
			printf("}");
		}
		printf("],\"creates\":[");
		for (size_t j = 0; j < create_cnt; j++) {
			printf("%s{\"name\":", j ? "," : "");
			json_string(creates[j].name);
			printf(",\"type\":%u,\"keySize\":%u,\"valueSize\":%u,\"maxEntries\":%u,\"flags\":%u,\"numaNode\":%u,\"mapExtra\":\"%llu\",\"keyTypeId\":%u,\"valueTypeId\":%u,\"result\":%d}",
			       creates[j].type, creates[j].key, creates[j].value, creates[j].entries, creates[j].flags,
			       creates[j].numa, (unsigned long long)creates[j].extra, creates[j].key_id, creates[j].value_id,
			       creates[j].ret);
		}
		printf("]");
	}
	if (opt.log) {
		printf(",\"log\":");
		json_string(log_text ? log_text : "");
	}
	return err;
}

static void alone(const char *path, int count)
{
	printf(",\"alone\":[");
	for (int i = 0; i < count; i++) {
		struct bpf_object *obj;
		struct bpf_program *prog, *only = NULL;
		int j = 0;

		reset();
		obj = open_object(path);
		if (!obj)
			break;
		bpf_object__for_each_program(prog, obj) {
			bpf_program__set_autoload(prog, j == i);
			if (j++ == i)
				only = prog;
		}
		printf("%s{", i ? "," : "");
		load_and_print(obj, only);
		printf("}");
		bpf_object__close(obj);
	}
	printf("]");
}

static void one_object(const char *path)
{
	struct bpf_object *obj;
	int err, count;

	reset();
	printf("{\"object\":");
	json_string(path);
	obj = open_object(path);
	if (!obj) {
		printf(",\"opened\":false,\"loaded\":false,\"error\":%d,\"programs\":[],\"maps\":[],\"creates\":[]", -errno);
		if (opt.log) {
			printf(",\"log\":");
			json_string(log_text ? log_text : "");
		}
		printf("}\n");
		return;
	}
	count = (int)capture_cnt;
	printf(",\"opened\":true,");
	err = load_and_print(obj, NULL);
	bpf_object__close(obj);
	if (opt.each || (opt.alone && err))
		alone(path, count);
	printf("}\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "btf", required_argument, NULL, 'b' },  { "kconfig", required_argument, NULL, 'k' },
		{ "load", no_argument, NULL, 'l' },	  { "fake-maps", no_argument, NULL, 'f' },
		{ "all", no_argument, NULL, 'a' },	  { "alone", no_argument, NULL, '1' },
		{ "each", no_argument, NULL, 'e' },	  { "no-pin", no_argument, NULL, 'n' },
		{ "info", no_argument, NULL, 'i' },	  { "log", no_argument, NULL, 'g' },
		{ "version", no_argument, NULL, 'v' },	  { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'b': opt.btf = optarg; break;
		case 'k': opt.kconfig = optarg; break;
		case 'l': opt.load = true; break;
		case 'f': opt.fake_maps = true; break;
		case 'a': opt.all = true; break;
		case '1': opt.alone = true; break;
		case 'e': opt.each = true; break;
		case 'n': opt.no_pin = true; break;
		case 'i': opt.info = true; break;
		case 'g': opt.log = true; break;
		case 'v': printf("%s\n", libbpf_version_string()); return 0;
		default: return 2;
		}
	}
	libbpf_set_print(print);
	for (int i = optind; i < argc; i++)
		one_object(argv[i]);
	return 0;
}
