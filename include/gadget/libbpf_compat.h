// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// What gadgets use of libbpf's <bpf/bpf_tracing.h> and libbpf 1.1 (Debian 12) does not have yet. Empty with later ones. Kernel: any.

#ifndef GADGET_LIBBPF_COMPAT_H
#define GADGET_LIBBPF_COMPAT_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/** As BPF_KPROBE and BPF_KRETPROBE, for functions of user space (libbpf 1.2). Costs nothing. */
#ifndef BPF_UPROBE
#define BPF_UPROBE(name, args...) BPF_KPROBE(name, ##args)
#endif
#ifndef BPF_URETPROBE
#define BPF_URETPROBE(name, args...) BPF_KRETPROBE(name, ##args)
#endif

/** The sixth argument of a function and of a system call (libbpf 1.2). */
#ifndef PT_REGS_PARM6
#if defined(__TARGET_ARCH_arm64)
#define __PT_PARM6_REG regs[5]
#elif defined(__TARGET_ARCH_x86)
#define __PT_PARM6_REG r9
#endif
#ifdef __PT_PARM6_REG
#define PT_REGS_PARM6(x) (__PT_REGS_CAST(x)->__PT_PARM6_REG)
#define PT_REGS_PARM6_CORE(x) BPF_CORE_READ(__PT_REGS_CAST(x), __PT_PARM6_REG)
#define PT_REGS_PARM6_SYSCALL(x) PT_REGS_PARM6(x)
#define PT_REGS_PARM6_CORE_SYSCALL(x) PT_REGS_PARM6_CORE(x)
// BPF_KPROBE counts up to six arguments, and puts the number behind this name.
#ifndef ___bpf_kprobe_args6
#define ___bpf_kprobe_args6(x, args...) ___bpf_kprobe_args5(args), (void *)PT_REGS_PARM6(ctx)
#endif
#endif
#endif

#endif
