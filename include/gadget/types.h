// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Types that user space recognises by their name in BTF. Declare a field of an event with one of them and the value
// is formatted or enriched; the types cost nothing at run time. Kernel: any with BTF.
//
// A field whose name ends in `_raw` keeps the number, and its text appears beside it under the name without `_raw`.

#ifndef GADGET_TYPES_H
#define GADGET_TYPES_H

#if !defined(__VMLINUX_H__) && !defined(__bool_true_false_are_defined)
#include <stdbool.h>
#endif

/** Length of a task's name, with its terminating NUL. */
#ifndef TASK_COMM_LEN
#define TASK_COMM_LEN 16
#endif

/** An IPv6 address, or an IPv4 address (network byte order) in the first four bytes. */
union gadget_ip_addr_t {
	__u8 v6[16];
	unsigned __int128 v6_raw;
	__u32 v4;
};

/** An address: shown as text and enriched with the name of what is behind it. 32 bytes. */
struct gadget_l3endpoint_t {
	union gadget_ip_addr_t addr_raw;
	/** 4 or 6. */
	__u8 version;
};

/** An address with port and protocol: shown as text and enriched with the name of what is behind it. 32 bytes. */
struct gadget_l4endpoint_t {
	union gadget_ip_addr_t addr_raw;
	/** In host byte order. */
	__u16 port;
	/** An IP protocol number, such as IPPROTO_TCP. */
	__u16 proto_raw;
	/** 4 or 6. */
	__u8 version;
};

/** Inode number of a mount namespace: names the container that an event belongs to. */
typedef __u64 gadget_mntns_id;

/** The older name of gadget_mntns_id. */
typedef gadget_mntns_id mnt_ns_id_t;

/** Inode number of a network namespace: names the container where gadget_mntns_id can't. */
typedef __u32 gadget_netns_id;

/** What bpf_ktime_get_boot_ns() returned: shown as date and time. 0 means unknown. */
typedef __u64 gadget_timestamp;

/** A signal number: shown as "SIGKILL". */
typedef __u32 gadget_signal;

/** An error number without its sign: shown as "ENOENT"; 0 is no error. */
typedef __u32 gadget_errno;

/** A user id: shown as the user's name. */
typedef __u32 gadget_uid;

/** A group id: shown as the group's name. */
typedef __u32 gadget_gid;

/** A system call number of this machine's native ABI: shown as "SYS_OPENAT". */
typedef __u64 gadget_syscall;

/** The mode of a file (st_mode): shown as "-rw-r--r--". */
typedef __u32 gadget_file_mode;

/** The flags of open(): shown as "O_RDWR|O_CREAT". */
typedef __u32 gadget_file_flags;

/** A stack id of gadget_get_kernel_stack(): shown as the functions' names. */
typedef __u32 gadget_kernel_stack;

/** A process id: what getpid() returns, the kernel's tgid. */
typedef __u32 gadget_pid;

/** The process id of a parent. */
typedef __u32 gadget_ppid;

/** A thread id: what gettid() returns, the kernel's pid. */
typedef __u32 gadget_tid;

/** The thread id of a parent. */
typedef __u32 gadget_ptid;

/** One byte of a task's name: `gadget_comm comm[TASK_COMM_LEN]`. */
typedef char gadget_comm;

/** One byte of the name of a parent. */
typedef char gadget_pcomm;

/**
 * Where a string lies within the event: its offset from the event's start in the low 16 bits, its length without the NUL
 * in the high 16; 0 is no string. strings.h makes them. Events carry strings of any length so, and no unused bytes.
 */
typedef __u32 gadget_string;

/** A number of bytes: shown as "82 kB". */
typedef __u64 gadget_bytes;

/** Nanoseconds: shown as "1.25ms". */
typedef __u64 gadget_duration;

/** Metrics: a sum that only grows. */
typedef __u32 gadget_counter__u32;
typedef __u64 gadget_counter__u64;

/** Metrics: a value that goes up and down. */
typedef __u32 gadget_gauge__u32;
typedef __u64 gadget_gauge__u64;

/** Metrics: one slot of a histogram, counting values below a power of two: `gadget_histogram_slot__u32 slots[N]`. */
typedef __u32 gadget_histogram_slot__u32;
typedef __u64 gadget_histogram_slot__u64;

/** Effective user and group of a task. */
struct gadget_creds {
	gadget_uid uid;
	gadget_gid gid;
};

/** The parent of a task. */
struct gadget_parent {
	gadget_pcomm comm[TASK_COMM_LEN];
	gadget_ppid pid;
	gadget_ptid tid;
};

/** A task and its parent; gadget_process_populate() of common.h fills it. */
struct gadget_process {
	gadget_comm comm[TASK_COMM_LEN];
	gadget_pid pid;
	gadget_tid tid;
	gadget_mntns_id mntns_id;

	struct gadget_creds creds;
	struct gadget_parent parent;
};

/** A stack of user space; gadget_get_user_stack() of user_stack_map.h fills it. All zero: no stack was taken. */
struct gadget_user_stack {
	/** The executable: device, inode, and the time it was last modified. */
	__u32 major;
	__u32 minor;
	__u64 inode;
	__u64 mtime_sec;
	__u32 mtime_nsec;

	/** FNV-1a of where the program lies in memory: changes with each exec, and differs between processes. */
	__u32 base_addr_hash;

	/** What bpf_get_stackid() returned, for the map ig_ustack. */
	__u32 stack_id;

	/** Process and thread as seen from the first and the second level of pid namespaces, and these namespaces. */
	__u32 tgid_level0;
	__u32 pid_level0;
	__u32 pidns_level0;
	__u32 pid_level1;
	__u32 pidns_level1;

	/** Joins the stack with one that an OpenTelemetry profiler took; 0 is none. */
	__u64 otel_correlation_id;

	/** bpf_ktime_get_boot_ns() when the stack was taken. */
	__u64 boot_timestamp;
};

/** The greatest length that user space may give the paths in struct gadget_socket_value. */
#define GADGET_SE_PATH_MAX 4096

/**
 * What is known about a socket. User space chooses the real layout when it loads the gadget, so every access is
 * relocated (CO-RE): read members directly, never copy the whole struct, and never take its sizeof.
 */
struct gadget_socket_value {
	__u64 mntns;
	__u64 pid_tgid;
	__u64 uid_gid;
	char task[TASK_COMM_LEN];
	char ptask[TASK_COMM_LEN];
	__u64 sock;
	__u64 deletion_timestamp;
	__u32 ppid;
	__u32 ptid;
	char ipv6only;
	/** Not 0 where the socket may belong to any of several processes; then task is "ambiguous" and there is no pid. */
	char ambiguous;

	char optional_fields_start[0] __attribute__((aligned(8)));

	/** May be absent: ask bpf_core_field_exists() first, and bpf_core_field_size() for the length. */
	char cwd[GADGET_SE_PATH_MAX];
	char exepath[GADGET_SE_PATH_MAX];
} __attribute__((preserve_access_index));

#endif
