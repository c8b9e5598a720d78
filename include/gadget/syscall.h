// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Which system call this is and what it was given, for programs of the tracepoints sys_enter and sys_exit.
//
// The same object works on x86-64 and arm64, and tells apart the calls of 32-bit programs: the tracepoints
// syscalls/sys_enter_... never fire for those on x86. Needs vmlinux.h. Kernel: 5.5.

#ifndef GADGET_SYSCALL_H
#define GADGET_SYSCALL_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/** The registers of x86-64, by their names in the kernel. */
struct pt_regs___gadget_x86 {
	unsigned long bx, bp, r8, r9, r10, cx, dx, si, di, orig_ax;
} __attribute__((preserve_access_index));

/** The registers of arm64, by their names in the kernel. */
struct pt_regs___gadget_arm64 {
	__u64 regs[31];
	__u64 orig_x0;
	__s32 syscallno;
} __attribute__((preserve_access_index));

struct thread_info___gadget_x86 {
	__u32 status;
} __attribute__((preserve_access_index));

struct thread_info___gadget {
	unsigned long flags;
} __attribute__((preserve_access_index));

struct task_struct___gadget_x86 {
	struct thread_info___gadget_x86 thread_info;
} __attribute__((preserve_access_index));

struct task_struct___gadget {
	struct thread_info___gadget thread_info;
} __attribute__((preserve_access_index));

// arch/x86/include/asm/thread_info.h: a call by int 0x80 or another 32-bit entry.
#define __GADGET_X86_TS_COMPAT 2
// arch/arm64/include/asm/thread_info.h: a 32-bit task.
#define __GADGET_ARM64_TIF_32BIT (1 << 22)
// arch/x86/include/uapi/asm/unistd.h: a call of the x32 ABI; the number without this bit is the 64-bit one.
#define __GADGET_X32_SYSCALL_BIT 0x40000000

/** True on x86-64. Costs nothing: decided when the object is loaded. */
static __always_inline bool gadget_arch_is_x86(void)
{
	return bpf_core_field_exists(((struct pt_regs___gadget_x86 *)0)->orig_ax);
}

/** True when the current task is in a call of the 32-bit ABI of its machine (i386, arm). One or two reads. */
static __always_inline bool gadget_syscall_is_compat(void)
{
	void *task = (void *)bpf_get_current_task();

	if (gadget_arch_is_x86())
		return BPF_CORE_READ((struct task_struct___gadget_x86 *)task, thread_info.status) &
		       __GADGET_X86_TS_COMPAT;
	return BPF_CORE_READ((struct task_struct___gadget *)task, thread_info.flags) & __GADGET_ARM64_TIF_32BIT;
}

/**
 * The number of the current call, of the ABI that it was made in; of x32 without its mark. One read.
 *
 * @regs the registers at sys_enter or at sys_exit
 */
static __always_inline __u32 gadget_syscall_number(void *regs)
{
	if (gadget_arch_is_x86())
		return BPF_CORE_READ((struct pt_regs___gadget_x86 *)regs, orig_ax) & ~__GADGET_X32_SYSCALL_BIT;
	return BPF_CORE_READ((struct pt_regs___gadget_arm64 *)regs, syscallno);
}

/**
 * Whether a number means one call, which has a number of its own in each ABI; -1 where it is not there.
 *
 * @compat what gadget_syscall_is_compat() said
 */
static __always_inline bool gadget_syscall_is(__u32 nr, bool compat, __u32 x86_64, __u32 i386, __u32 arm64, __u32 arm)
{
	if (gadget_arch_is_x86())
		return nr == (compat ? i386 : x86_64);
	return nr == (compat ? arm : arm64);
}

/**
 * An argument of the current call. One read.
 *
 * @regs the registers at sys_enter or at sys_exit: both still hold what the program gave
 * @n a constant: 0 is the first argument, 5 the last
 * @compat what gadget_syscall_is_compat() said
 */
static __always_inline __u64 gadget_syscall_arg(void *regs, int n, bool compat)
{
	struct pt_regs___gadget_x86 *x86 = regs;
	struct pt_regs___gadget_arm64 *arm64 = regs;
	__u64 value;

	if (gadget_arch_is_x86()) {
		if (compat)
			value = n == 0 ? BPF_CORE_READ(x86, bx) :
				n == 1 ? BPF_CORE_READ(x86, cx) :
				n == 2 ? BPF_CORE_READ(x86, dx) :
				n == 3 ? BPF_CORE_READ(x86, si) :
				n == 4 ? BPF_CORE_READ(x86, di) :
					 BPF_CORE_READ(x86, bp);
		else
			value = n == 0 ? BPF_CORE_READ(x86, di) :
				n == 1 ? BPF_CORE_READ(x86, si) :
				n == 2 ? BPF_CORE_READ(x86, dx) :
				n == 3 ? BPF_CORE_READ(x86, r10) :
				n == 4 ? BPF_CORE_READ(x86, r8) :
					 BPF_CORE_READ(x86, r9);
	} else {
		// The result has replaced the first register at sys_exit.
		value = n == 0 ? BPF_CORE_READ(arm64, orig_x0) : BPF_CORE_READ(arm64, regs[n]);
	}
	return compat ? (__u32)value : value;
}

#endif
