// What a process looked like before it left its namespaces, and how that went. See leave.c.
#ifndef RLBUILD_ROOTLESS_LEAVE_H
#define RLBUILD_ROOTLESS_LEAVE_H

#include <stdint.h>
#include <sys/types.h>

struct departure {
	int tried;      // the rest is filled in
	int error;      // errno of what failed, 0 when the process is in new namespaces
	int user;       // a user namespace was wanted as well as a mount namespace
	int errands;    // socket to the process that stayed outside, -1 without one
	pid_t outside;  // that process
	uid_t uid;      // effective IDs, as the old namespace has them
	gid_t gid;
	uint64_t capabilities; // the effective ones
};

extern struct departure rlbuild_departure;

#endif
