#ifndef RLBUILD_ROOTLESS_NEST_H
#define RLBUILD_ROOTLESS_NEST_H

// Returns how many user namespaces can be made inside each other from here, no more than most; -1 when that can't be tried.
int rlbuild_levels(int most);

#endif
