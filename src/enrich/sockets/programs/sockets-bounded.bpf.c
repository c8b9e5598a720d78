// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// The same programs for kernels before 5.17, which have no bpf_loop(): tables of descriptors are looked at only so far.

#define WITHOUT_BPF_LOOP
#include "sockets.bpf.c"
