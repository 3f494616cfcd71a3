// The child of a process with many threads may only do what is safe in a signal handler: other threads may hold any lock
// at the moment of the clone, in libc or in Go. What is more, it may share that process's memory. So nothing here
// allocates, prints, calls Go or writes to anything but its own stack and errno, which belongs to a thread that sleeps
// meanwhile; all of it is system calls, bare ones where libc's wrapper would do more than wrap.
#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

// Newer than some of the headers this is compiled with. The numbers are the same on every architecture Go has, but for
// those with 32-bit mips; the structures are the kernel's.
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

enum {
	K_OPEN_TREE_CLONE = 1, K_AT_RECURSIVE = 0x8000, K_AT_EMPTY_PATH = 0x1000,
	K_FSOPEN_CLOEXEC = 1, K_FSMOUNT_CLOEXEC = 1,
	K_FSCONFIG_SET_FLAG = 0, K_FSCONFIG_SET_STRING = 1, K_FSCONFIG_CMD_CREATE = 6,
	K_MOVE_MOUNT_EMPTY_PATHS = 0x04 | 0x40, // of both ends
	K_RESOLVE_NO_MAGICLINKS = 0x02, K_RESOLVE_NO_SYMLINKS = 0x04, K_RESOLVE_BENEATH = 0x08, K_RESOLVE_IN_ROOT = 0x10,
	K_MOUNT_ATTR_RDONLY = 1, K_MOUNT_ATTR_NOSUID = 2, K_MOUNT_ATTR_NODEV = 4, K_MOUNT_ATTR_NOEXEC = 8,
	K_MS_PRIVATE = 1 << 18, K_MS_SLAVE = 1 << 19, K_MS_REC = 1 << 14, K_MNT_DETACH = 2,
	K_KEYCTL_JOIN_SESSION_KEYRING = 1,
};

// Where arrange puts descriptors: behind the three streams, those of ours.
enum { REPORT = 3, USERS, TERMINAL, DESCRIPTORS };

struct k_open_how { uint64_t flags, mode, resolve; };
struct k_mount_attr { uint64_t attr_set, attr_clr, propagation, userns_fd; };

static int open_how(int dir, const char *path, uint64_t flags, uint64_t resolve)
{
	struct k_open_how how = { .flags = flags | O_CLOEXEC, .resolve = resolve };
	int fd;
	do {
		fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
	} while (fd < 0 && (errno == EINTR || errno == EAGAIN)); // EAGAIN: a rename raced with "..", try again
	return fd;
}

// Opens a name in a place without touching what it leads to.
static int open_in(const int *places, int place, const char *name)
{
	if (place == IN_ROOT)
		return open_how(places[IN_ROOT], name, O_PATH, K_RESOLVE_IN_ROOT | K_RESOLVE_NO_MAGICLINKS);
	return open_how(places[place], name, O_PATH, K_RESOLVE_BENEATH | K_RESOLVE_NO_SYMLINKS);
}

// Makes an operation's target, which is a clean name, component by component: each is made in the directory that those
// before it lead to, so no link leads out of the place. Returns it opened, or -1.
static int make_target(const int *places, const struct op *o)
{
	char name[4096];
	size_t length = strlen(o->target);
	if (length >= sizeof name) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(name, o->target, length + 1);
	int dir = open_in(places, o->place, o->place == IN_ROOT ? "/" : "."), next;
	for (size_t from = name[0] == '/', to; dir >= 0 && from < length; from = to + 1) {
		for (to = from; to < length && name[to] != '/'; to++)
			;
		name[to] = 0;
		next = open_in(places, o->place, name);
		if (next < 0 && errno == ENOENT) {
			if (to == length && o->make == MAKE_FILE) {
				next = openat(dir, name + from, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
				if (next < 0)
					return -1;
				close(next);
			} else if (mkdirat(dir, name + from, 0755) < 0) {
				return -1;
			}
			next = open_in(places, o->place, name);
		}
		if (to < length)
			name[to] = '/';
		close(dir);
		dir = next;
	}
	return dir;
}

// Opens an operation's target.
static int open_target(const int *places, const struct op *o)
{
	int fd = open_in(places, o->place, o->target);
	if (fd < 0 && errno == ENOENT && o->make)
		return make_target(places, o);
	return fd;
}

static int set_attributes(int fd, uint64_t attributes, uint64_t propagation, int recursive)
{
	struct k_mount_attr a = { .attr_set = attributes, .propagation = propagation };
	return syscall(SYS_mount_setattr, fd, "", K_AT_EMPTY_PATH | (recursive ? K_AT_RECURSIVE : 0), &a, sizeof a);
}

static int clone_tied(int dir, const char *path, uint64_t attributes, uint64_t propagation)
{
	int fd = syscall(SYS_open_tree, dir, path, K_OPEN_TREE_CLONE | K_AT_RECURSIVE | O_CLOEXEC | K_AT_EMPTY_PATH);
	if (fd < 0 || set_attributes(fd, attributes, propagation, 1) < 0)
		return -1;
	return fd;
}

static int clone_tree(int dir, const char *path, uint64_t attributes)
{
	return clone_tied(dir, path, attributes, K_MS_PRIVATE);
}

static int attach(int mount, int target)
{
	return syscall(SYS_move_mount, mount, "", target, "", K_MOVE_MOUNT_EMPTY_PATHS);
}

// Makes a mount of a new file system, attached nowhere yet.
static int new_mount(const char *type, const char *options, uint64_t attributes)
{
	int context = syscall(SYS_fsopen, type, K_FSOPEN_CLOEXEC);
	if (context < 0)
		return -1;
	// What /proc/mounts names as the source.
	if (syscall(SYS_fsconfig, context, K_FSCONFIG_SET_STRING, "source", type, 0) < 0)
		return -1;
	char name[32], value[32];
	while (options && *options) {
		char *to = name;
		size_t n = 0;
		for (; *options && *options != ','; options++) {
			if (to == name && *options == '=') {
				to[n] = 0;
				to = value, n = 0;
			} else if (n + 1 < sizeof name) {
				to[n++] = *options;
			} else {
				errno = ENAMETOOLONG;
				return -1;
			}
		}
		to[n] = 0;
		if (*options == ',')
			options++;
		if (syscall(SYS_fsconfig, context, to == name ? K_FSCONFIG_SET_FLAG : K_FSCONFIG_SET_STRING, name,
			    to == name ? NULL : value, 0) < 0)
			return -1;
	}
	if (syscall(SYS_fsconfig, context, K_FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	int mount = syscall(SYS_fsmount, context, K_FSMOUNT_CLOEXEC, attributes);
	close(context);
	return mount;
}

static int write_all(int fd, const char *content, size_t length)
{
	while (length > 0) {
		ssize_t n = write(fd, content, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		content += n, length -= n;
	}
	return 0;
}

// Makes a file in the stage, and returns a mount of it.
static int stage_file(const struct step *s, int stage, const struct op *o)
{
	int fd = openat(stage, o->source, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write_all(fd, o->content, o->length) < 0 || fchown(fd, s->root_uid, s->root_gid) < 0 ||
	    fchmod(fd, o->mode) < 0)
		return -1;
	close(fd);
	return clone_tree(stage, o->source, o->attributes);
}

// Hides what is behind target.
static int mask(int stage, int target)
{
	struct stat st;
	if (fstat(target, &st) < 0)
		return -1;
	int mount = S_ISDIR(st.st_mode) ? clone_tree(stage, "empty", K_MOUNT_ATTR_RDONLY | K_MOUNT_ATTR_NOSUID |
							     K_MOUNT_ATTR_NODEV | K_MOUNT_ATTR_NOEXEC)
					: clone_tree(AT_FDCWD, "/dev/null", K_MOUNT_ATTR_NOSUID | K_MOUNT_ATTR_NOEXEC);
	if (mount < 0)
		return -1;
	return attach(mount, target);
}

static int do_stage(int *places, const struct op *o)
{
	int target = open(o->target, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int mount = new_mount("tmpfs", "mode=0700,size=65536k", K_MOUNT_ATTR_NOSUID | K_MOUNT_ATTR_NODEV);
	if (target < 0 || mount < 0 || mkdirat(mount, "empty", 0555) < 0 || attach(mount, target) < 0)
		return -1;
	places[IN_STAGE] = mount;
	return close(target);
}

// Makes what is to be mounted on an operation's target. Returns a mount, or -1.
static int make_mount(const struct step *s, const int *places, const struct op *o, int target)
{
	switch (o->kind) {
	case OP_MOUNT:
		return new_mount(o->source, o->options, o->attributes);
	case OP_BIND:
		return clone_tied(AT_FDCWD, o->source, o->attributes, o->propagation ? o->propagation : K_MS_PRIVATE);
	case OP_FILE:
		return stage_file(s, places[IN_STAGE], o);
	case OP_READONLY:
		return clone_tree(target, "", o->attributes);
	}
	errno = EINVAL;
	return -1;
}

static int do_operation(const struct step *s, int *places, const struct op *o)
{
	int fd;
	switch (o->kind) {
	case OP_STAGE:
		return do_stage(places, o);
	case OP_DIRECTORY:
		return mkdirat(places[o->place], o->target, o->mode);
	case OP_LINK:
		return symlinkat(o->source, places[o->place], o->target);
	case OP_SYSCTL:
		fd = open_how(places[o->place], o->target, O_WRONLY, K_RESOLVE_BENEATH | K_RESOLVE_NO_SYMLINKS);
		if (fd < 0 || write_all(fd, o->content, o->length) < 0)
			return -1;
		return close(fd);
	}
	if (o->kind == OP_BIND && o->mode) { // in /dev, where the tmpfs is empty
		fd = openat(places[o->place], o->target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, o->mode);
		if (fd < 0)
			return -1;
		close(fd);
	}
	int target = open_target(places, o);
	if (target < 0)
		return (o->kind == OP_READONLY || o->kind == OP_MASK) && errno == ENOENT ? 0 : -1;
	if (o->kind == OP_MASK) {
		if (mask(places[IN_STAGE], target) < 0)
			return -1;
		return close(target);
	}
	int mount = make_mount(s, places, o, target);
	if (mount < 0 || attach(mount, target) < 0)
		return -1;
	close(target);
	if (o->keep >= 0)
		places[o->keep] = mount;
	else
		close(mount);
	return 0;
}

static void fail(int pipe, int phase, int index)
{
	struct report r = { phase, index, errno };
	(void)!write(pipe, &r, sizeof r); // at most PIPE_BUF: all of it or nothing
	_exit(127);
}

// A program that the image makes the host's own: execve("/proc/self/exe") would be rlbuild itself, run inside and, through
// /proc again, open to be overwritten (CVE-2019-5736). So no magic link may lead to the program, nor to the interpreter
// that its first line names, however often. Nothing else runs in the container yet, so what is looked at here is what
// execve finds.
static int check_program(const char *path)
{
	char line[260];
	for (int depth = 0; depth < 6; depth++) {
		struct stat st;
		int fd = open_how(AT_FDCWD, path, O_PATH, K_RESOLVE_NO_MAGICLINKS);
		if (fd < 0 || fstat(fd, &st) < 0)
			return -1;
		close(fd);
		if (!S_ISREG(st.st_mode)) {
			errno = EACCES;
			return -1;
		}
		fd = open_how(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, K_RESOLVE_NO_MAGICLINKS);
		if (fd < 0)
			return -1;
		ssize_t n = read(fd, line, sizeof line - 1);
		close(fd);
		if (n < 2 || line[0] != '#' || line[1] != '!')
			return 0;
		line[n] = 0;
		char *from = line + 2, *to;
		while (*from == ' ' || *from == '\t')
			from++;
		for (to = from; *to && *to != ' ' && *to != '\t' && *to != '\n'; to++)
			;
		*to = 0;
		if (to == from)
			return 0; // execve refuses it
		// The next round overwrites the line only after it has opened the path.
		path = from;
	}
	errno = ELOOP; // the kernel stops earlier
	return -1;
}

static int enter_root(const struct step *s, int *places)
{
	// Nothing that is mounted here may be seen outside, and nothing mounted outside may appear here but in binds that are
	// to show it: what else is seen of the host's tree is made private when it is cloned.
	if (syscall(SYS_mount, NULL, "/", NULL, K_MS_REC | (s->slave ? K_MS_SLAVE : K_MS_PRIVATE), NULL) < 0)
		return -1;
	int at = open(s->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	// A device node in an image must stay a file: there is no device cgroup here.
	int mount = clone_tree(AT_FDCWD, s->root, K_MOUNT_ATTR_NODEV);
	if (at < 0 || mount < 0 || attach(mount, at) < 0)
		return -1;
	places[IN_ROOT] = mount;
	return close(at);
}

static int send_descriptor(int socket, int fd)
{
	char none = 0;
	struct iovec io = { &none, 1 };
	union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof fd)]; } control = { 0 };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	return sendmsg(socket, &m, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

// Makes a terminal of the step's own instance of devpts its controlling one, its three streams and its console, as OCI
// runtimes do. The other end goes to the parent alone.
static int take_terminal(const struct step *s, const int *places)
{
	struct winsize size = { .ws_row = s->rows, .ws_col = s->columns };
	int unlocked = 0;
	int master = openat(places[IN_DEV], "pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCSWINSZ, &size) < 0)
		return -1;
	int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || fchown(slave, s->terminal_uid, -1) < 0 || ioctl(slave, TIOCSCTTY, 0) < 0)
		return -1;
	int console = openat(places[IN_DEV], "console", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int mount = clone_tree(slave, "", K_MOUNT_ATTR_NOSUID | K_MOUNT_ATTR_NOEXEC);
	if (console < 0 || mount < 0 || attach(mount, console) < 0 || close(console) < 0 || close(mount) < 0)
		return -1;
	for (int i = 0; i < 3; i++)
		if (dup3(slave, i, 0) < 0)
			return -1;
	if (send_descriptor(TERMINAL, master) < 0 || close(master) < 0)
		return -1;
	return close(slave);
}

// pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one, and goes.
static int leave_old_root(int root)
{
	if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || syscall(SYS_umount2, ".", K_MNT_DETACH) < 0)
		return -1;
	return chdir("/");
}

static int change_directory(const char *path)
{
	// Descriptors of the host are closed by now, and no magic link is followed: CVE-2024-21626.
	int fd = open_how(AT_FDCWD, path, O_PATH | O_DIRECTORY, K_RESOLVE_NO_MAGICLINKS);
	if (fd < 0 || fchdir(fd) < 0)
		return -1;
	return close(fd);
}

static int drop_bounding(uint64_t keep)
{
	for (int c = 0; c < 64; c++) {
		int have = prctl(PR_CAPBSET_READ, c, 0, 0, 0);
		if (have < 0)
			return 0; // one more than the kernel has
		if (have && !(keep >> c & 1) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			return -1;
	}
	return 0;
}

static int set_filter(const struct step *s)
{
	if (s->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	if (!s->nfilter)
		return 0;
	struct sock_fprog program = { .len = s->nfilter, .filter = (struct sock_filter *)s->filter };
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

// The bare calls: libc's would tell all of the process's threads, and there are none to answer.
static int become(const struct step *s)
{
	if (s->ngroups >= 0 && syscall(SYS_setgroups, s->ngroups, s->groups) < 0)
		return -1;
	if (syscall(SYS_setresgid, s->gid, s->gid, s->gid) < 0 || syscall(SYS_setresuid, s->uid, s->uid, s->uid) < 0)
		return -1;
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = (uint32_t)s->permitted, .permitted = (uint32_t)s->permitted },
		{ .effective = s->permitted >> 32, .permitted = s->permitted >> 32 },
	};
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || syscall(SYS_capset, &header, data) < 0)
		return -1;
	// Changing IDs has cleared it (prctl(2)).
	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

static void reset_signals(void)
{
	struct { void *handler; unsigned long flags; void *restorer; unsigned long mask[2]; } fallback = { 0 };
	for (int n = 1; n <= 64; n++)
		syscall(SYS_rt_sigaction, n, &fallback, NULL, 8); // KILL and STOP refuse, and need none
}

// Puts the descriptors in their places and closes everything else.
static int arrange(const struct step *s)
{
	const int given[DESCRIPTORS] = { s->stdio[0], s->stdio[1], s->stdio[2], s->report, s->users, s->terminal };
	int moved[DESCRIPTORS];
	for (int i = 0; i < DESCRIPTORS; i++) {
		moved[i] = given[i] < 0 ? -1 : fcntl(given[i], F_DUPFD_CLOEXEC, 16);
		if (given[i] >= 0 && moved[i] < 0)
			return -1;
	}
	for (int i = 0; i < DESCRIPTORS; i++) {
		if (moved[i] < 0)
			close(i); // EBADF is as good
		else if (dup3(moved[i], i, i >= REPORT ? O_CLOEXEC : 0) < 0)
			return -1;
	}
	return syscall(SYS_close_range, DESCRIPTORS, ~0U, 0);
}

static void join(const struct step *s)
{
	static const int kinds[JOINS] = { CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP };
	for (int i = 0; i < JOINS; i++)
		if (s->joins[i] >= 0 && syscall(SYS_setns, s->joins[i], kinds[i]) < 0)
			fail(s->report, AT_JOIN, i);
}

static int raise_loopback(void)
{
	struct ifreq lo = { .ifr_name = "lo" };
	lo.ifr_flags = IFF_UP | IFF_RUNNING;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
		return -1;
	return close(fd);
}

static void run(const struct step *s)
{
	int places[PLACES] = { -1, -1, -1, -1, -1 };
	reset_signals();
	syscall(SYS_umask, 0);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || setsid() < 0)
		fail(s->report, AT_START, 0);
	join(s);
	if (arrange(s) < 0)
		fail(s->report, AT_START, 0);
	struct pollfd parent = { .fd = REPORT };
	if (poll(&parent, 1, 0) > 0 && parent.revents & POLLERR)
		_exit(127); // it died before the signal was asked for
	// Another session's keys are none of the step's business. Without quota for a keyring it keeps what buildah's
	// rootless steps always keep.
	syscall(SYS_keyctl, K_KEYCTL_JOIN_SESSION_KEYRING, NULL);
	if (s->loopback && raise_loopback() < 0)
		fail(REPORT, AT_LOOPBACK, 0);
	if (enter_root(s, places) < 0)
		fail(REPORT, AT_ROOT, 0);
	for (int i = 0; i < s->nops; i++)
		if (do_operation(s, places, &s->ops[i]) < 0)
			fail(REPORT, AT_OPERATION, i);
	if (s->terminal >= 0 && take_terminal(s, places) < 0)
		fail(REPORT, AT_TERMINAL, 0);
	if (leave_old_root(places[IN_ROOT]) < 0 || syscall(SYS_close_range, s->users >= 0 ? USERS + 1 : USERS, ~0U, 0) < 0)
		fail(REPORT, AT_PIVOT, 0);
	if (s->hostname && syscall(SYS_sethostname, s->hostname, strlen(s->hostname)) < 0)
		fail(REPORT, AT_HOSTNAME, 0);
	for (int i = 0; i < s->nlimits; i++) {
		struct { uint64_t soft, hard; } both = { s->limits[i].soft, s->limits[i].hard };
		if (syscall(SYS_prlimit64, 0, s->limits[i].resource, &both, NULL) < 0)
			fail(REPORT, AT_LIMITS, i);
	}
	// Last of what takes power over the namespaces: they stay the caller's, and in its own user namespace the step has none
	// over them.
	if (s->users >= 0 && (syscall(SYS_setns, USERS, CLONE_NEWUSER) < 0 || close(USERS) < 0))
		fail(REPORT, AT_NAMESPACE, 0);
	if (change_directory(s->directory) < 0)
		fail(REPORT, AT_DIRECTORY, 0);
	if (s->argv && check_program(s->argv[0]) < 0)
		fail(REPORT, AT_PROGRAM, 0);
	// The filter comes before the capabilities go: without no_new_privs only CAP_SYS_ADMIN may load one. What follows it
	// is among the calls that it allows.
	if (drop_bounding(s->bounding) < 0)
		fail(REPORT, AT_CAPABILITIES, 0);
	if (set_filter(s) < 0)
		fail(REPORT, AT_SECCOMP, 0);
	if (become(s) < 0)
		fail(REPORT, AT_USER, 0);
	syscall(SYS_umask, 022);
	unsigned long none[2] = { 0 };
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, NULL, 8);
	if (!s->argv)
		_exit(0);
	syscall(SYS_execve, s->argv[0], s->argv, s->envp);
	fail(REPORT, AT_EXEC, 0);
}

static int start(void *s)
{
	run(s);
	return 127; // never: run doesn't return
}

enum { STACK = 64 << 10 };

int rlbuild_sandbox_start(struct step *s)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -1;
	// No signal may run a handler of Go's in the child. libc's sigfillset leaves out two of its own.
	unsigned long all[2] = { ~0UL, ~0UL }, before[2];
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, all, before, 8);
	// This thread sleeps until the child has executed its program or is gone, as after vfork(2), and so the child may use
	// this process's memory: to copy and then drop Go's page tables would take longer than all else here. But not a child
	// that changes its user or user namespace: that makes the memory undumpable (commit_creds in the kernel), and with it
	// this process, which would then be a stranger to its own /proc. Nor one that others see, in the pid namespace that it
	// shares.
	int flags = s->namespaces | CLONE_VFORK | CLONE_PARENT_SETTID | SIGCHLD;
	if (s->uid == 0 && s->gid == 0 && s->users < 0 && s->namespaces & CLONE_NEWPID)
		flags |= CLONE_VM;
	int pid = clone(start, stack + STACK, flags, s, &s->pid);
	int error = errno;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, before, NULL, 8);
	munmap(stack, STACK);
	errno = error;
	return pid;
}
