// Code that runs before the Go runtime does, while the process has one thread: only such a process may make a user
// namespace for itself. All else, what to map above all, is decided in Go.
#define _GNU_SOURCE
#include "leave.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

struct departure rlbuild_departure = { .errands = -1 };

enum { MOST = 1 << 16, ERRANDS = 8 };

// Writes text to a file; returns errno.
static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int error = write(fd, text, strlen(text)) < 0 ? errno : 0;
	close(fd);
	return error;
}

// Prints a file's text; returns errno.
static int show(const char *path)
{
	char text[4096];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno;
	int error = 0;
	while ((n = read(fd, text, sizeof text)) > 0 && !error)
		error = write(1, text, n) < 0 ? errno : 0;
	if (n < 0)
		error = errno;
	close(fd);
	return error;
}

// Prints a file's owner and group: both can't be told where they aren't mapped. Returns errno.
static int owners(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return errno;
	return dprintf(1, "%u %u\n", st.st_uid, st.st_gid) < 0 ? errno : 0;
}

// Does one list of errands and answers.
static void run_errands(const char *list, size_t length)
{
	char *argv[MOST / 8], status[1 + ERRANDS] = { 0 };
	pid_t running[ERRANDS] = { 0 };
	int errands = 0;

	for (const char *word = list; word < list + length && errands < ERRANDS; word++, errands++) {
		int argc = 0;
		for (; *word && argc < MOST / 8 - 1; word += strlen(word) + 1)
			argv[argc++] = (char *)word;
		argv[argc] = NULL;
		if (argc == 2 && !strcmp(argv[0], "show")) {
			status[1 + errands] = (char)show(argv[1]);
		} else if (argc == 2 && !strcmp(argv[0], "owners")) {
			status[1 + errands] = (char)owners(argv[1]);
		} else if (argc == 3 && !strcmp(argv[0], "write")) {
			status[1 + errands] = (char)put(argv[1], argv[2]);
		} else if (argc < 3) {
			status[1 + errands] = (char)EINVAL;
		} else if ((running[errands] = fork()) == 0) {
			execv(argv[1], argv + 2);
			_exit(127);
		} else if (running[errands] < 0) {
			status[1 + errands] = (char)errno;
		}
	}
	for (int i = 0; i < errands; i++) {
		int end;
		if (running[i] > 0)
			status[1 + i] = waitpid(running[i], &end, 0) < 0 ? 127 : WIFEXITED(end) ? WEXITSTATUS(end) : 128 + WTERMSIG(end);
	}
	if (write(0, status, 1 + errands) < 0)
		_exit(0);
}

// The life of the process that stays outside: it takes lists of errands, one a packet, does and answers each, and ends
// when no more can come. An errand is words ending in NUL, and ends in an empty word: "write" FILE TEXT, "show" FILE and "owners" FILE,
// done at once, or "run" PROGRAM ARGV..., of which all run at the same time. The answer is packets of what was printed, and then
// one that begins with NUL and has a byte per errand: 0 when it worked, else errno or the exit status of a program.
static void stay(int socket)
{
	static char list[MOST];
	ssize_t n;

	// No file of the caller's may stay open through this process. What the programs print goes into the answer.
	dup2(socket, 0);
	dup2(socket, 1);
	dup2(socket, 2);
	syscall(SYS_close_range, 3, ~0U, 0);
	while ((n = read(0, list, MOST - 2)) > 0) {
		list[n] = list[n + 1] = 0;
		run_errands(list, n);
	}
	_exit(0);
}

// Makes the process that stays outside; returns errno.
static int divide(struct departure *d)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return errno;
	for (int i = 0; i < 2; i++) {
		// The numbers of standard streams that the caller closed stay free, for the same to happen as without this.
		int high = fcntl(ends[i], F_DUPFD_CLOEXEC, 3);
		if (high >= 0) {
			close(ends[i]);
			ends[i] = high;
		}
	}
	d->outside = fork();
	if (d->outside == 0)
		stay(ends[1]);
	int error = d->outside < 0 ? errno : 0;
	close(ends[1]);
	if (error)
		close(ends[0]);
	else
		d->errands = ends[0];
	return error;
}

static uint64_t capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	if (syscall(SYS_capget, &head, data) < 0)
		return 0;
	return (uint64_t)data[1].effective << 32 | data[0].effective;
}

__attribute__((constructor)) static void leave(void)
{
	struct departure *d = &rlbuild_departure;

	// Whether the program will want to enter is known after it has read its command line and its script, in Go. Its usual
	// name is reason enough to go ahead: nothing is mapped and nobody notices if it doesn't. See again in leave.go for
	// those of other names.
	if (strcmp(program_invocation_short_name, "rlbuild") && !getenv("_RLBUILD_LEAVE"))
		return;
	d->tried = 1;
	d->uid = geteuid();
	d->gid = getegid();
	d->capabilities = capabilities();
	d->user = d->uid != 0 || !(d->capabilities & 1ULL << CAP_SYS_ADMIN);
	if (d->user && (d->error = divide(d)))
		return;
	if (unshare(CLONE_NEWNS | (d->user ? CLONE_NEWUSER : 0)) < 0)
		d->error = errno;
}
