// SPDX-License-Identifier: GPL-2.0-only
//
// Shows each bind of an IPv4 or IPv6 socket to an address.
//
// One program at the end of system calls: the registers still hold what was given, and the socket says what became of it,
// such as the port that the kernel chose.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/endpoints.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/syscall.h>
#include <gadget/types.h>

enum bind_options_set : __u8 {
	FREEBIND = 0x01,
	TRANSPARENT = 0x02,
	BIND_ADDRESS_NO_PORT = 0x04,
	REUSEADDRESS = 0x08,
	REUSEPORT = 0x10,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_l4endpoint_t addr;
	struct gadget_process proc;
	gadget_netns_id netns_id;

	gadget_errno error_raw;
	__s32 fd;
	__u32 bound_dev_if;
	__u16 asked_port;
	enum bind_options_set opts_raw;
};

const volatile bool ignore_errors = true;
const volatile __u16 targ_port = 0;

GADGET_PARAM(ignore_errors);
GADGET_PARAM(targ_port);

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(bind, events, event);

// Bits of inet_sock.inet_flags (include/net/inet_sock.h), since Linux 6.6; bit fields before.
#define INET_FREEBIND_BIT 11
#define INET_TRANSPARENT_BIT 15
#define INET_BIND_ADDRESS_NO_PORT_BIT 18

struct inet_sock___until_6_6 {
	__u8 freebind : 1;
	__u8 transparent : 1;
	__u8 bind_address_no_port : 1;
} __attribute__((preserve_access_index));

static __always_inline enum bind_options_set options_of(struct sock *sk)
{
	struct inet_sock *inet = (struct inet_sock *)sk;
	struct inet_sock___until_6_6 *old = (void *)sk;
	__u8 options = 0;

	if (bpf_core_field_exists(old->freebind)) {
		options |= BPF_CORE_READ_BITFIELD_PROBED(old, freebind) ? FREEBIND : 0;
		options |= BPF_CORE_READ_BITFIELD_PROBED(old, transparent) ? TRANSPARENT : 0;
		options |= BPF_CORE_READ_BITFIELD_PROBED(old, bind_address_no_port) ? BIND_ADDRESS_NO_PORT : 0;
	} else {
		unsigned long flags = BPF_CORE_READ(inet, inet_flags);

		options |= flags & (1UL << INET_FREEBIND_BIT) ? FREEBIND : 0;
		options |= flags & (1UL << INET_TRANSPARENT_BIT) ? TRANSPARENT : 0;
		options |= flags & (1UL << INET_BIND_ADDRESS_NO_PORT_BIT) ? BIND_ADDRESS_NO_PORT : 0;
	}
	options |= BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_reuse) ? REUSEADDRESS : 0;
	options |= BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_reuseport) ? REUSEPORT : 0;
	return options;
}

// The descriptor and the address of a bind; false for another call.
static __always_inline bool bind_args(struct pt_regs *regs, __s32 *fd, __u64 *address)
{
	__u32 nr = gadget_syscall_number(regs);
	bool compat;

	// bind and socketcall of all ABIs together, to let most calls pass quickly.
	if (gadget_arch_is_x86() ? nr != 49 && nr != 361 && nr != 102 : nr != 200 && nr != 282)
		return false;
	compat = gadget_syscall_is_compat();
	*fd = gadget_syscall_arg(regs, 0, compat);
	*address = gadget_syscall_arg(regs, 1, compat);
	if (gadget_syscall_is(nr, compat, 49, 361, 200, 282))
		return true;
	// include/uapi/linux/net.h: SYS_BIND is 2; the arguments lie in memory.
	if (gadget_syscall_is(nr, compat, -1, 102, -1, -1) && *fd == 2) {
		__u32 args[2] = {};

		bpf_probe_read_user(args, sizeof(args), (void *)*address);
		*fd = args[0];
		*address = args[1];
		return true;
	}
	return false;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(bind_done, struct pt_regs *regs, long result)
{
	struct gadget_l4endpoint_t asked = {};
	// 32-bit calls may not have been sign-extended.
	__s32 ret = result;
	struct event *event;
	struct sock *sk;
	__u64 address;
	__s32 fd;

	if (!bind_args(regs, &fd, &address) || (ignore_errors && ret < 0) || gadget_should_discard_data_current())
		return 0;
	sk = gadget_sock_of_fd(fd);
	if (!sk)
		return 0;
	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	gadget_endpoint_from_user(&asked, (void *)address);
	{
		struct gadget_l4endpoint_t remote = {};

		if (!gadget_sock_endpoints(sk, &event->addr, &remote))
			goto discard;
	}
	if (ret < 0) {
		// The socket has another address, or none.
		asked.proto_raw = event->addr.proto_raw;
		event->addr = asked;
	}
	if (targ_port && event->addr.port != targ_port)
		goto discard;
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->proc);
	event->netns_id = gadget_sock_netns(sk);
	event->error_raw = ret < 0 ? -ret : 0;
	event->fd = fd;
	event->asked_port = asked.port;
	event->bound_dev_if = BPF_CORE_READ(sk, __sk_common.skc_bound_dev_if);
	event->opts_raw = options_of(sk);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;

discard:
	gadget_discard_buf(event);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
