// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// The optional fields of an entry, the working directory and the program's path: only where a gadget reads them.

#include <gadget/filesystem.h>

static __always_inline void clear_paths(struct owner *to)
{
	if (cwd_size)
		*((char *)to + cwd_at) = 0;
	if (exepath_size)
		*((char *)to + exepath_at) = 0;
}

/* Paths are those of the current task, so they are read only where it is the owner; otherwise the same process keeps its own. */
static __always_inline void fill_paths(struct owner *to, __u64 pid_tgid, bool isSame)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (cwd_size == 0 && exepath_size == 0)
		return;
	if (BPF_CORE_READ(task, tgid) != (pid_t)(pid_tgid >> 32)) {
		if (!isSame)
			clear_paths(to);
		return;
	}
	if (cwd_size) {
		struct path path = BPF_CORE_READ(task, fs, pwd);

		gadget_read_path((char *)to + cwd_at, cwd_size, &path);
	}
	if (exepath_size) {
		struct path path = BPF_CORE_READ(task, mm, exe_file, f_path);

		gadget_read_path((char *)to + exepath_at, exepath_size, &path);
	}
}
