// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Both ends of a socket, for programs that get a struct sock. Needs vmlinux.h. Kernel: 5.4.

#ifndef GADGET_ENDPOINTS_H
#define GADGET_ENDPOINTS_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <gadget/types.h>

// include/linux/socket.h
#define __GADGET_EP_AF_INET 2
#define __GADGET_EP_AF_INET6 10

/** Sets an address of 16 bytes; an IPv4 address within IPv6 (::ffff:1.2.3.4) becomes plain IPv4, as it is in packets. Three comparisons. */
static __always_inline void gadget_endpoint_set_v6(struct gadget_l4endpoint_t *endpoint, const __u32 address[4])
{
	if (!address[0] && !address[1] && address[2] == bpf_htonl(0xffff)) {
		endpoint->addr_raw.v4 = address[3];
		endpoint->version = 4;
		return;
	}
	__builtin_memcpy(endpoint->addr_raw.v6, address, sizeof(endpoint->addr_raw.v6));
	endpoint->version = 6;
}

/**
 * Sets an endpoint from a struct sockaddr in memory of the current task; false, and nothing is set, where it is neither of
 * IPv4 nor of IPv6, or not readable. Two reads.
 *
 * @endpoint zeroed before; its protocol is left as it is
 */
static __always_inline bool gadget_endpoint_from_user(struct gadget_l4endpoint_t *endpoint, const void *address)
{
	// struct sockaddr_in and sockaddr_in6: family, port, then the address, at 4 and at 8.
	__u32 words[7] = {};
	__u16 family;

	if (bpf_probe_read_user(words, 8, address))
		return false;
	family = words[0] & 0xffff;
	if (family == __GADGET_EP_AF_INET) {
		endpoint->addr_raw.v4 = words[1];
		endpoint->version = 4;
	} else if (family == __GADGET_EP_AF_INET6) {
		if (bpf_probe_read_user(words, sizeof(words), address))
			return false;
		gadget_endpoint_set_v6(endpoint, &words[2]);
	} else {
		return false;
	}
	endpoint->port = bpf_ntohs(words[0] >> 16);
	return true;
}

/** The protocol of a socket, such as IPPROTO_TCP. One read. */
static __always_inline __u16 gadget_sock_protocol(const struct sock *sk)
{
	// A bit field until 5.5.
	return BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);
}

/** The inode number of a socket's network namespace. Two reads. */
static __always_inline gadget_netns_id gadget_sock_netns(const struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/**
 * Sets both ends of a socket, what is not known yet being 0; false, and nothing is set, where it is neither of IPv4 nor of
 * IPv6. About six reads.
 *
 * @local, @remote zeroed before
 */
static __always_inline bool gadget_sock_endpoints(const struct sock *sk, struct gadget_l4endpoint_t *local,
						  struct gadget_l4endpoint_t *remote)
{
	const struct inet_sock *inet = (const struct inet_sock *)sk;
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__u32 address[4] = {};

	if (family == __GADGET_EP_AF_INET) {
		local->addr_raw.v4 = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		remote->addr_raw.v4 = BPF_CORE_READ(sk, __sk_common.skc_daddr);
		local->version = remote->version = 4;
	} else if (family == __GADGET_EP_AF_INET6 && bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
		BPF_CORE_READ_INTO(&address, sk, __sk_common.skc_v6_rcv_saddr);
		gadget_endpoint_set_v6(local, address);
		BPF_CORE_READ_INTO(&address, sk, __sk_common.skc_v6_daddr);
		gadget_endpoint_set_v6(remote, address);
	} else {
		return false;
	}
	// Kept after the socket has given its port back, unlike skc_num.
	local->port = bpf_ntohs(BPF_CORE_READ(inet, inet_sport));
	remote->port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	local->proto_raw = remote->proto_raw = gadget_sock_protocol(sk);
	return true;
}

/** The socket behind an open file, or NULL where it is none. Three reads. */
static __always_inline struct sock *gadget_sock_of_file(struct file *file)
{
	struct socket *socket = BPF_CORE_READ(file, private_data);

	// Other files have other things there: those don't point back.
	if (!socket || BPF_CORE_READ(socket, file) != file)
		return NULL;
	return BPF_CORE_READ(socket, sk);
}

/** The socket behind a descriptor of the current task, or NULL. Eight reads. */
static __always_inline struct sock *gadget_sock_of_fd(__u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), &files[fd]);
	return file ? gadget_sock_of_file(file) : NULL;
}

#endif
