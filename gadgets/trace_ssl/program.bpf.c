// SPDX-License-Identifier: GPL-2.0-only
//
// Shows what programs send and receive through TLS libraries, before it is encrypted and after it is decrypted, and the time
// that handshakes and operations with keys take.
//
// The functions of OpenSSL, GnuTLS and NSS are watched at their start and at their return: a call is shown when it returns.
// Of calls of the same kind, one within the other, the outer one is shown.

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define GADGET_NO_BUF_RESERVE
#define GADGET_SCRATCH_NESTING 4
#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/regs.h>
#include <gadget/scratch.h>
#include <gadget/types.h>

// As much as one TLS record carries.
#define DATA_MAX 16384

enum operation {
	libssl_SSL_do_handshake,
	libssl_SSL_read,
	libssl_SSL_write,
	libssl_SSL_read_ex,
	libssl_SSL_write_ex,
	libssl_SSL_shutdown,

	libgnutls_gnutls_handshake,
	libgnutls_gnutls_record_send,
	libgnutls_gnutls_record_recv,
	libgnutls_gnutls_record_send2,
	libgnutls_gnutls_bye,

	libssl3_SSL_ForceHandshake,
	libssl3_SSL_ForceHandshakeWithTimeout,
	libnspr4_PR_Write,
	libnspr4_PR_Send,
	libnspr4_PR_Read,
	libnspr4_PR_Recv,

	libcrypto_RSA_sign,
	libcrypto_RSA_verify,
	libcrypto_EVP_PKEY_sign,
	libcrypto_EVP_PKEY_verify,
	libcrypto_EVP_PKEY_encrypt,
	libcrypto_EVP_PKEY_decrypt,
	libcrypto_EVP_PKEY_derive,
	libcrypto_EVP_DigestSign,
	libcrypto_EVP_DigestVerify,
};

enum direction {
	neither,
	received,
	sent,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;

	gadget_duration latency_ns_raw;
	__u64 session;
	enum operation operation_raw;
	enum direction direction_raw;
	__u32 len;
	__s32 ret;
	gadget_string buf;

	char __data[DATA_MAX];
};

struct work {
	struct event event;
};

const volatile bool record_data = true;
const volatile bool show_failed = false;
const volatile bool crypto = true;
const volatile bool openssl = true;
const volatile bool gnutls = true;
const volatile bool nss = true;

GADGET_PARAM(record_data);
GADGET_PARAM(show_failed);
GADGET_PARAM(crypto);
// gadget.yaml loads the programs of a library only where its parameter is true.
GADGET_PARAM(openssl);
GADGET_PARAM(gnutls);
GADGET_PARAM(nss);

GADGET_TRACER_MAP(events, 1024 * 1024 * 4);
GADGET_TRACER(ssl, events, event);

GADGET_SCRATCH(works, struct work);

// A call that goes on.
struct call {
	__u64 sp;
	__u64 start;
	__u64 session;
	__u64 buffer;
	// Where the function writes how much it was; 0 where it returns that.
	__u64 length;
	enum operation op;
};

// What a thread does at the same time: a handshake may work with keys, and may call back a program that sends.
enum call_kind {
	kind_session,
	kind_receive,
	kind_send,
	kind_crypto,
};

struct call_key {
	__u32 tid;
	enum call_kind kind;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

// How a function returns what it did.
enum result_kind {
	returns_length,
	// 1 is success, and a length is written.
	returns_one,
	// 1 is success, and there is no length.
	returns_state,
	// 0 is success.
	returns_zero,
};

static __always_inline enum call_kind kind_of(enum operation op, enum direction direction)
{
	if (op >= libcrypto_RSA_sign)
		return kind_crypto;
	return direction == sent ? kind_send : direction == received ? kind_receive : kind_session;
}

static __always_inline int begins(struct pt_regs *ctx, enum operation op, __u64 buffer, __u64 length, enum direction direction)
{
	struct call_key key = { .tid = bpf_get_current_pid_tgid(), .kind = kind_of(op, direction) };
	struct call call = { .op = op, .buffer = buffer, .length = length };
	struct call *outer;

	if ((key.kind == kind_crypto && !crypto) || gadget_should_discard_data_current())
		return 0;
	call.sp = gadget_regs_sp(ctx);
	call.start = bpf_ktime_get_boot_ns();
	call.session = gadget_regs_arg(ctx, 0);
	outer = bpf_map_lookup_elem(&calls, &key);
	// Deeper in the stack, or at the same place by a jump: called by that function. Higher: that one never returned (longjmp).
	if (!outer || outer->sp < call.sp)
		bpf_map_update_elem(&calls, &key, &call, BPF_ANY);
	return 0;
}

static __always_inline int ends(struct pt_regs *ctx, enum operation op, enum direction direction, enum result_kind kind)
{
	struct call_key key = { .tid = bpf_get_current_pid_tgid(), .kind = kind_of(op, direction) };
	struct call *begun = bpf_map_lookup_elem(&calls, &key);
	__s32 ret = gadget_regs_result(ctx);
	bool is_good = kind == returns_zero ? ret == 0 : kind == returns_length ? ret > 0 : ret == 1;
	__u64 size = __builtin_offsetof(struct event, __data);
	__u64 captured;
	struct event *event;
	struct work *work;
	struct call call;
	__u64 length = 0;

	// A function that was jumped to by another one has its return, too.
	if (!begun || begun->op != op || begun->sp != gadget_regs_sp_at_call(ctx))
		return 0;
	call = *begun;
	bpf_map_delete_elem(&calls, &key);
	if (!is_good && !show_failed)
		return 0;

	work = works_claim();
	if (!work) {
		__gadget_count_lost(&events);
		return 0;
	}
	event = &work->event;
	__builtin_memset(event, 0, __builtin_offsetof(struct event, __data));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->proc);
	event->latency_ns_raw = event->timestamp_raw - call.start;
	event->session = call.session;
	event->operation_raw = op;
	event->direction_raw = direction;
	event->ret = ret;
	if (is_good && kind == returns_length)
		length = ret;
	if (is_good && kind == returns_one)
		bpf_probe_read_user(&length, sizeof(length), (void *)call.length);
	event->len = length;

	captured = length > DATA_MAX ? DATA_MAX : length;
	if (!record_data || !call.buffer)
		captured = 0;
	barrier_var(captured);
	if (captured > DATA_MAX)
		captured = DATA_MAX;
	if (captured && !bpf_probe_read_user(event->__data, captured, (void *)call.buffer)) {
		event->buf = __builtin_offsetof(struct event, __data) | (__u32)captured << 16;
		size += captured;
	}
	if (size <= sizeof(*event))
		gadget_output_buf(ctx, &events, event, size);
	works_release(work);
	return 0;
}

#define WATCHES(library, function, buffer, length, direction, kind)                             \
	WATCHES_AS(library##_##function, library, function, buffer, length, direction, kind)

#define WATCHES_AS(operation, library, function, buffer, length, direction, kind)               \
	SEC("uprobe/" #library ":" #function)                                                   \
	int function##_begins(struct pt_regs *ctx)                                              \
	{                                                                                       \
		return begins(ctx, operation, buffer, length, direction);                       \
	}                                                                                       \
	SEC("uretprobe/" #library ":" #function)                                                \
	int function##_ends(struct pt_regs *ctx)                                                \
	{                                                                                       \
		return ends(ctx, operation, direction, kind);                                   \
	}

#define ARG(n) gadget_regs_arg(ctx, n)

// SSL_connect and SSL_accept come down to this one, but a compiler may have put it into them.
WATCHES(libssl, SSL_do_handshake, 0, 0, neither, returns_state)
WATCHES_AS(libssl_SSL_do_handshake, libssl, SSL_connect, 0, 0, neither, returns_state)
WATCHES_AS(libssl_SSL_do_handshake, libssl, SSL_accept, 0, 0, neither, returns_state)
// 0 asks to be called again, so only 1 is the end.
WATCHES(libssl, SSL_shutdown, 0, 0, neither, returns_state)
WATCHES(libssl, SSL_read, ARG(1), 0, received, returns_length)
WATCHES(libssl, SSL_write, ARG(1), 0, sent, returns_length)
WATCHES(libssl, SSL_read_ex, ARG(1), ARG(3), received, returns_one)
WATCHES(libssl, SSL_write_ex, ARG(1), ARG(3), sent, returns_one)

WATCHES(libgnutls, gnutls_handshake, 0, 0, neither, returns_zero)
WATCHES(libgnutls, gnutls_record_send, ARG(1), 0, sent, returns_length)
WATCHES(libgnutls, gnutls_record_send2, ARG(1), 0, sent, returns_length)
WATCHES(libgnutls, gnutls_record_recv, ARG(1), 0, received, returns_length)
WATCHES(libgnutls, gnutls_bye, 0, 0, neither, returns_zero)

// NSS: its own libssl, and the calls of NSPR, on top of which it lies.
WATCHES(libssl3, SSL_ForceHandshake, 0, 0, neither, returns_zero)
WATCHES(libssl3, SSL_ForceHandshakeWithTimeout, 0, 0, neither, returns_zero)
WATCHES(libnspr4, PR_Write, ARG(1), 0, sent, returns_length)
WATCHES(libnspr4, PR_Send, ARG(1), 0, sent, returns_length)
WATCHES(libnspr4, PR_Read, ARG(1), 0, received, returns_length)
WATCHES(libnspr4, PR_Recv, ARG(1), 0, received, returns_length)

WATCHES(libcrypto, RSA_sign, 0, 0, neither, returns_state)
WATCHES(libcrypto, RSA_verify, 0, 0, neither, returns_state)
WATCHES(libcrypto, EVP_PKEY_sign, 0, 0, neither, returns_state)
WATCHES(libcrypto, EVP_PKEY_verify, 0, 0, neither, returns_state)
WATCHES(libcrypto, EVP_PKEY_encrypt, 0, 0, neither, returns_state)
WATCHES(libcrypto, EVP_PKEY_decrypt, 0, 0, neither, returns_state)
WATCHES(libcrypto, EVP_PKEY_derive, 0, 0, neither, returns_state)
WATCHES(libcrypto, EVP_DigestSign, 0, 0, neither, returns_state)
WATCHES(libcrypto, EVP_DigestVerify, 0, 0, neither, returns_state)

char LICENSE[] SEC("license") = "GPL";
