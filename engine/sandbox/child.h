// What a step's process does between clone(2) and execve(2), as data. Go fills these structures in C memory before the
// clone; the child only reads them.
#ifndef RLBUILD_SANDBOX_CHILD_H
#define RLBUILD_SANDBOX_CHILD_H

#include <stddef.h>
#include <stdint.h>

// Where an operation's target is looked up. In the root every name resolves as after chroot(2), because the image is
// hostile; below mounts of our own no link is followed at all.
enum place { IN_ROOT, IN_STAGE, IN_DEV, IN_PROC, IN_SYS, PLACES };

enum kind {
	OP_STAGE,     // mount a new tmpfs on the host directory target, out of the step's sight, to make files in
	OP_MOUNT,     // mount a new file system of type source with options on target
	OP_BIND,      // bind the host's source, with what is mounted below it, on target; with a mode, make that file first
	OP_FILE,      // make the file source with content in the stage and bind it on target
	OP_DIRECTORY, // make the directory target
	OP_LINK,      // make target a link to source
	OP_SYSCTL,    // write content to target
	OP_READONLY,  // make target and all below it read-only; nothing if it isn't there
	OP_MASK,      // hide target behind /dev/null or an empty directory; nothing if it isn't there
};

// What to make where a target is missing: an earlier mount of the step's own hides what was made for it in the root.
enum make { MAKE_NOTHING, MAKE_FILE, MAKE_DIRECTORY };

struct op {
	int kind;
	int place;           // of target
	int keep;            // the place that the new mount is from now on, or -1
	int make;            // what target becomes if nothing is there
	unsigned int mode;   // permissions of what is made
	uint64_t attributes; // MOUNT_ATTR_* of the mount
	uint64_t propagation; // of a bind: MS_PRIVATE (also 0), MS_SLAVE or MS_UNBINDABLE
	const char *source;
	const char *target;
	const char *options; // "name=value" or "name", comma separated
	const char *content;
	size_t length;       // of content
};

struct limit {
	int resource;
	uint64_t soft, hard;
};

// The namespaces that a step may join.
enum join { JOIN_NETWORK, JOIN_IPC, JOIN_UTS, JOIN_CGROUP, JOINS };

// The phases of the set-up, for reports.
enum phase {
	AT_START, AT_JOIN, AT_LOOPBACK, AT_ROOT, AT_OPERATION, AT_TERMINAL, AT_PIVOT, AT_HOSTNAME, AT_LIMITS, AT_NAMESPACE,
	AT_DIRECTORY, AT_PROGRAM, AT_CAPABILITIES, AT_SECCOMP, AT_USER, AT_EXEC,
};

// What the child writes, once, when it fails.
struct report {
	int phase;
	int index; // of the operation, limit or namespace
	int error; // errno
};

struct step {
	int pid; // set by the kernel before the child runs
	const char *root;
	int stdio[3];
	int report;   // write end of a pipe whose read end the parent holds
	int namespaces;   // CLONE_NEW* of those that are new
	int joins[JOINS]; // descriptors of those to join, or -1
	int loopback;     // the network is new: its loopback interface is raised
	int users;    // user namespace to join when all is set up, or -1
	int terminal; // socket that gets the master end of the step's terminal, or -1: it has none
	unsigned short rows, columns;  // of the terminal
	uint32_t terminal_uid;         // its owner
	uint32_t root_uid, root_gid;   // owner of what is made for the step: its root, as this user namespace has it
	const struct op *ops;
	int nops;
	const char *hostname; // NULL: it is another's
	const struct limit *limits;
	int nlimits;
	const char *directory;
	char *const *argv; // NULL: everything is set up and the process exits with status 0
	char *const *envp;
	uint32_t uid, gid;
	const uint32_t *groups;
	int ngroups; // -1: they stay as they are
	uint64_t bounding, permitted; // capability sets, a bit each
	const void *filter; // struct sock_filter[]
	unsigned short nfilter; // 0: no filter
	int no_new_privs;
	int slave; // what the host mounts shows in the binds that are its slaves
};

// Starts the process and returns when it executes its program or has ended: its pid, or -1 with errno.
int rlbuild_sandbox_start(struct step *s);

#endif
