// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause
//
// Lets the user give a filter for packets, in the language of tcpdump. Kernel: 5.4.

#ifndef GADGET_PACKETFILTER_H
#define GADGET_PACKETFILTER_H

#include <bpf/bpf_helpers.h>

/**
 * Declares a packet filter: the parameter --pf-<name>, or --pf when the name is left out. Before the gadget is loaded,
 * user space puts the compiled filter at the beginning of the function; without a filter it lets every packet pass.
 *
 * The filter finds the packet in the fourth and the fifth argument; the first three keep registers free for it.
 * Costs one call, and what the filter itself does. Kernel: 5.4.
 */
#define GADGET_PF(name)                                                                                           \
	static __noinline bool gadget_pf_##name(void *_skb, void *__skb, void *___skb, void *data, void *data_end) \
	{                                                                                                         \
		/* True for every packet, but only the caller could know: the call and its arguments must stay. */ \
		return data != data_end && _skb == __skb && __skb == ___skb;                                      \
	}

/**
 * gadget_pf_matches([name,] skb, data, data_end): whether the user's filter lets a packet pass.
 *
 * @name that of GADGET_PF(), left out if it was left out there
 * @skb the program's context
 * @data the first byte of the packet
 * @data_end the byte after its last; costs the call of GADGET_PF()
 */
#define gadget_pf_matches(...) __GADGET_PF_SELECT(__VA_ARGS__, __GADGET_PF_4, __GADGET_PF_3, , )(__VA_ARGS__)

#define __GADGET_PF_SELECT(_1, _2, _3, _4, macro, ...) macro
#define __GADGET_PF_3(skb, data, data_end) gadget_pf_(skb, skb, skb, data, data_end)
#define __GADGET_PF_4(name, skb, data, data_end) gadget_pf_##name(skb, skb, skb, data, data_end)

#endif
