/* Makes a container in one of the ways in which that can be done: making HOW CGROUP PROGRAM ARGS... Prints when the child ran first, in nanoseconds since boot. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_BOOTTIME, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void enter(const char *cgroup, int pid)
{
	char file[4096];
	FILE *out;

	snprintf(file, sizeof(file), "%s/cgroup.procs", cgroup);
	out = fopen(file, "w");
	if (!out || fprintf(out, "%d\n", pid) < 0 || fclose(out)) {
		perror(file);
		exit(1);
	}
}

static void check(long result, const char *what)
{
	if (result >= 0)
		return;
	perror(what);
	exit(1);
}

static void run(long long first, char **argv)
{
	dprintf(1, "%lld\n", first);
	execv(argv[0], argv);
	_exit(127);
}

int main(int argc, char **argv)
{
	const char *how = argv[1], *cgroup = argv[2];
	long long first;
	int ready[2], status = 0;
	long pid;

	if (argc < 4 || pipe(ready))
		return 2;
	if (!strcmp(how, "clone3")) {
		struct clone_args args = { .flags = CLONE_INTO_CGROUP | CLONE_NEWNS | CLONE_NEWPID, .exit_signal = SIGCHLD };

		args.cgroup = open(cgroup, O_RDONLY | O_DIRECTORY);
		pid = syscall(SYS_clone3, &args, sizeof(args));
	} else if (!strcmp(how, "clone")) {
		enter(cgroup, 0);
		pid = syscall(SYS_clone, CLONE_NEWNS | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	} else if (!strcmp(how, "late-cgroup")) {
		pid = syscall(SYS_clone, CLONE_NEWNS | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	} else if (!strcmp(how, "unshare")) {
		enter(cgroup, 0);
		check(unshare(CLONE_NEWNS | CLONE_NEWPID), "unshare");
		pid = fork();
	} else if (!strcmp(how, "setns")) {
		/* Into the namespaces of a child that waits. */
		long holder = syscall(SYS_clone, CLONE_NEWNS | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
		char file[64];

		if (holder == 0) {
			pause();
			_exit(0);
		}
		enter(cgroup, 0);
		snprintf(file, sizeof(file), "/proc/%ld/ns/pid", holder);
		check(setns(open(file, O_RDONLY), CLONE_NEWPID), "setns pid");
		snprintf(file, sizeof(file), "/proc/%ld/ns/mnt", holder);
		check(setns(open(file, O_RDONLY), CLONE_NEWNS), "setns mnt");
		pid = fork();
		if (pid == 0)
			run(now(), argv + 3);
		waitpid(pid, &status, 0);
		kill(holder, SIGKILL);
		waitpid(holder, NULL, 0);
		return WEXITSTATUS(status);
	} else
		return 2;
	first = now();
	check(pid, how);
	if (pid == 0) {
		char byte;

		read(ready[0], &byte, 1);
		run(first, argv + 3);
	}
	if (!strcmp(how, "late-cgroup"))
		enter(cgroup, pid);
	dprintf(2, "%lld\n", first);
	write(ready[1], "x", 1);
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}
