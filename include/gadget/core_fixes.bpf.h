// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Reads what kernels have under different names and in different places. Which one it is gets decided when the object is
// loaded (CO-RE): at run time each function costs the reads that it makes. Include vmlinux.h first. Kernel: 5.4.

#ifndef GADGET_CORE_FIXES_BPF_H
#define GADGET_CORE_FIXES_BPF_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <gadget/libbpf_compat.h>
#include <gadget/syscall.h>

/**
 * Says that a program can't get here on any kernel that it can be loaded on: the verifier refuses the program if it could.
 * The same impossible helper that libbpf puts where a relocation failed.
 */
static void (*bpf_core_unreachable)(void) __attribute__((unused)) = (void *)0xbad2310;

// Linux 5.14 renamed task_struct.state and made it 32 bits wide.
struct task_struct___gadget_new_state {
	unsigned int __state;
} __attribute__((preserve_access_index));

struct task_struct___gadget_old_state {
	volatile long state;
} __attribute__((preserve_access_index));

/** The state of a task: 0 is running. One read. */
static __always_inline __s64 get_task_state(void *task)
{
	struct task_struct___gadget_new_state *new_task = task;
	struct task_struct___gadget_old_state *old_task = task;

	return bpf_core_field_exists(new_task->__state) ? (__s64)BPF_CORE_READ(new_task, __state) :
							  (__s64)BPF_CORE_READ(old_task, state);
}

// Linux 5.12 put the block device between a bio and its disk.
struct bio___gadget_bdev {
	struct block_device *bi_bdev;
} __attribute__((preserve_access_index));

struct bio___gadget_disk {
	struct gendisk *bi_disk;
} __attribute__((preserve_access_index));

/** The disk of a struct bio. One or two reads. */
static __always_inline struct gendisk *get_gendisk(void *bio)
{
	struct bio___gadget_bdev *new_bio = bio;
	struct bio___gadget_disk *old_bio = bio;

	return bpf_core_field_exists(new_bio->bi_bdev) ? BPF_CORE_READ(new_bio, bi_bdev, bd_disk) :
							 BPF_CORE_READ(old_bio, bi_disk);
}

// Linux 5.17 took the disk out of struct request; it had come to struct request_queue in 5.15.
struct request_queue___gadget {
	struct gendisk *disk;
} __attribute__((preserve_access_index));

struct request___gadget {
	struct request_queue___gadget *q;
	struct gendisk *rq_disk;
} __attribute__((preserve_access_index));

/** The disk of a struct request. One or two reads. */
static __always_inline struct gendisk *get_disk(void *request)
{
	struct request___gadget *rq = request;

	return bpf_core_field_exists(rq->rq_disk) ? BPF_CORE_READ(rq, rq_disk) : BPF_CORE_READ(rq, q, disk);
}

struct trace_event_raw_block_rq_completion___gadget {
	__u64 nr_sector;
} __attribute__((preserve_access_index));

/** Whether the tracepoint block_rq_complete has the context struct trace_event_raw_block_rq_completion (5.18). Costs nothing. */
static __always_inline bool has_block_rq_completion(void)
{
	return bpf_core_type_exists(struct trace_event_raw_block_rq_completion___gadget);
}

struct renamedata___gadget {
	struct user_namespace *old_mnt_userns;
} __attribute__((preserve_access_index));

/** Whether vfs_create() and vfs_unlink() have a user namespace as their first argument (5.12 to 6.2). Costs nothing. */
static __always_inline bool renamedata_has_old_mnt_userns_field(void)
{
	return bpf_core_field_exists(((struct renamedata___gadget *)0)->old_mnt_userns);
}

struct trace_event_raw_kfree___gadget {
	const void *ptr;
} __attribute__((preserve_access_index));

/** Whether the tracepoint kfree has a context of its own (5.12). Costs nothing. */
static __always_inline bool has_kfree(void)
{
	return bpf_core_type_exists(struct trace_event_raw_kfree___gadget);
}

struct trace_event_raw_kmem_cache_free___gadget {
	const void *ptr;
} __attribute__((preserve_access_index));

/** Whether the tracepoint kmem_cache_free has a context of its own (5.12). Costs nothing. */
static __always_inline bool has_kmem_cache_free(void)
{
	return bpf_core_type_exists(struct trace_event_raw_kmem_cache_free___gadget);
}

// The tracepoint tcp_retransmit_skb got a context of its own in 6.18; distributions have it earlier.
struct trace_event_raw_tcp_retransmit_skb___gadget {
	const void *skbaddr;
	const void *skaddr;
} __attribute__((preserve_access_index));

struct trace_event_raw_tcp_event_sk_skb___gadget {
	const void *skbaddr;
	const void *skaddr;
} __attribute__((preserve_access_index));

/** The packet that the tracepoint tcp_retransmit_skb is about. One read. */
static __always_inline const struct sk_buff *gadget_get_tcp_retransmit_skb_skbaddr(void *ctx)
{
	struct trace_event_raw_tcp_retransmit_skb___gadget *own = ctx;
	struct trace_event_raw_tcp_event_sk_skb___gadget *shared = ctx;

	return bpf_core_type_exists(struct trace_event_raw_tcp_retransmit_skb___gadget) ?
		       BPF_CORE_READ(own, skbaddr) :
		       BPF_CORE_READ(shared, skbaddr);
}

/** The socket that the tracepoint tcp_retransmit_skb is about. One read. */
static __always_inline const struct sock *gadget_get_tcp_retransmit_skb_skaddr(void *ctx)
{
	struct trace_event_raw_tcp_retransmit_skb___gadget *own = ctx;
	struct trace_event_raw_tcp_event_sk_skb___gadget *shared = ctx;

	return bpf_core_type_exists(struct trace_event_raw_tcp_retransmit_skb___gadget) ? BPF_CORE_READ(own, skaddr) :
											  BPF_CORE_READ(shared, skaddr);
}

// The times of struct inode: a timespec64 until 6.5 (i_ctime) and 6.6 (i_mtime), the same with two underscores until 6.10,
// then seconds and nanoseconds apart. A struct timespec, in kernels before 4.18, has the same layout on 64 bits.
struct timespec64___gadget {
	__s64 tv_sec;
	long tv_nsec;
} __attribute__((preserve_access_index));

struct inode___gadget_plain {
	struct timespec64___gadget i_ctime;
	struct timespec64___gadget i_mtime;
} __attribute__((preserve_access_index));

struct inode___gadget_underscores {
	struct timespec64___gadget __i_ctime;
	struct timespec64___gadget __i_mtime;
} __attribute__((preserve_access_index));

struct inode___gadget_split {
	__s64 i_ctime_sec;
	__u32 i_ctime_nsec;
	__s64 i_mtime_sec;
	__u32 i_mtime_nsec;
} __attribute__((preserve_access_index));

// The kernel keeps a flag in the highest bit since 6.13.
#define __GADGET_INODE_NSEC(nsec) ((__u32)(nsec) & 0x7fffffff)

/** When the inode of a file last changed (ctime), in nanoseconds since 1970; 0 for a time before that. Two reads. */
static __always_inline u64 gadget_get_ctime_nanosec_from_inode(struct inode *inode)
{
	struct inode___gadget_split *split = (void *)inode;
	struct inode___gadget_underscores *underscores = (void *)inode;
	struct inode___gadget_plain *plain = (void *)inode;
	__s64 sec;
	__u32 nsec;

	if (bpf_core_field_exists(split->i_ctime_sec)) {
		sec = BPF_CORE_READ(split, i_ctime_sec);
		nsec = BPF_CORE_READ(split, i_ctime_nsec);
	} else if (bpf_core_field_exists(underscores->__i_ctime)) {
		sec = BPF_CORE_READ(underscores, __i_ctime.tv_sec);
		nsec = BPF_CORE_READ(underscores, __i_ctime.tv_nsec);
	} else {
		sec = BPF_CORE_READ(plain, i_ctime.tv_sec);
		nsec = BPF_CORE_READ(plain, i_ctime.tv_nsec);
	}
	return sec < 0 ? 0 : (u64)sec * 1000000000 + __GADGET_INODE_NSEC(nsec);
}

/** When the content of a file was last modified (mtime). Two reads. */
static __always_inline void gadget_inode_get_mtime(struct inode *inode, __u64 *mtime_sec, __u32 *mtime_nsec)
{
	struct inode___gadget_split *split = (void *)inode;
	struct inode___gadget_underscores *underscores = (void *)inode;
	struct inode___gadget_plain *plain = (void *)inode;

	if (bpf_core_field_exists(split->i_mtime_sec)) {
		*mtime_sec = BPF_CORE_READ(split, i_mtime_sec);
		*mtime_nsec = __GADGET_INODE_NSEC(BPF_CORE_READ(split, i_mtime_nsec));
	} else if (bpf_core_field_exists(underscores->__i_mtime)) {
		*mtime_sec = BPF_CORE_READ(underscores, __i_mtime.tv_sec);
		*mtime_nsec = BPF_CORE_READ(underscores, __i_mtime.tv_nsec);
	} else {
		*mtime_sec = BPF_CORE_READ(plain, i_mtime.tv_sec);
		*mtime_nsec = BPF_CORE_READ(plain, i_mtime.tv_nsec);
	}
}

/** The number of the system call that the registers of a raw tracepoint sys_enter or sys_exit are of. One read. */
static __always_inline long gadget_get_syscall_nr(struct pt_regs *regs)
{
	if (gadget_arch_is_x86())
		return BPF_CORE_READ((struct pt_regs___gadget_x86 *)regs, orig_ax);
	return BPF_CORE_READ((struct pt_regs___gadget_arm64 *)regs, syscallno);
}

/** An argument of that call, 1 to 6, of a program of the machine's own word size. One read. */
static __always_inline unsigned long gadget_get_syscall_arg(struct pt_regs *regs, unsigned int arg_id)
{
	switch (arg_id) {
	case 1:
		return gadget_syscall_arg(regs, 0, false);
	case 2:
		return gadget_syscall_arg(regs, 1, false);
	case 3:
		return gadget_syscall_arg(regs, 2, false);
	case 4:
		return gadget_syscall_arg(regs, 3, false);
	case 5:
		return gadget_syscall_arg(regs, 4, false);
	case 6:
		return gadget_syscall_arg(regs, 5, false);
	}
	return 0;
}

#endif
