// Package engine does the verbs of a build: it makes working containers from images, mounts, fills, runs, configures and
// commits them, and moves images between the store and the world. A Builder is one run of rlbuild; what it made and
// nobody asked to keep is gone when it is closed.
//
// # Rooms
//
// Imports point one way, from the top of this list down; a test in this folder holds the table.
//
//   - cmd/rlbuild turns argv into one run and an exit status, and is the only printer of final errors. It may import all
//     below and must not know image formats.
//   - cmd/bench measures rlbuild beside its peer and the floor, in turns. It runs commands only, and must import no other
//     room: what it measures is what a user gets.
//   - builtins turns Starlark calls into engine calls, one file per verb and one table of them. It must not know buildah,
//     storage, flags or the environment.
//   - engine does the verbs on containers and images, with buildah's library. It must not know Starlark or
//     argv, and of the user's terminal no more than that steps can be connected to one it is given.
//   - engine/script hosts the interpreter: load, print, cancel, backtrace. It must not know which verbs exist.
//   - engine/rootless/rootlesstest enters the namespaces for test suites. It must not know what is tested.
//   - engine/rootless enters the namespaces, or says why it can't. It must not know the store, images or scripts.
//   - engine/store opens and closes containers-storage, picks the driver and says why. It must not know registries or
//     scripts.
//   - engine/diagnose says why a command failed, from where it ran and what it printed. It must not know buildah, the store
//     or how commands are run.
//   - engine/transfer copies files from one tree into another, with the outcome of buildah's own copying. It must not know
//     buildah's library, the store or what the files are for.
//   - engine/rootfs does file operations below a root that no name, link or race leads out of. It must not know what the
//     files are for.
//   - engine/sandbox runs one command in a root file system, in namespaces of its own. It must not know buildah, the
//     store or what the command is for.
//   - engine/layer turns a directory of changes into an image layer, the same that storage makes, in one pass over the files.
//     It must not know buildah, images or the store.
//   - engine/reference parses image names and transports. It must not know the network or the store.
//   - engine/output shows a run's output line by line under its steps and captures it, bounded. It must not know what a
//     step does.
//   - engine/silence gives up connections that no byte moves over. It must not know what a registry is.
//   - engine/compress compresses a stream on all processors. It must not know images.
//   - engine/ociarchive writes an OCI archive in one pass. It must not know where the blobs come from.
//   - engine/gpg signs with the user's GPG keys, by way of the gpg program. It must not know what is signed.
//   - engine/agent serves an ssh agent that only lists keys and signs. It must not know who asks.
//   - engine/reach says which component of a path refuses this process, and why. It must not know what the path is for.
//   - engine/filesystem says what the kernel tells of the file system that a path is on: kind, flags, what is left of it. It must
//     not know what the path is for.
//   - engine/journal says what each run owns, which runs are dead, and which processes they left. It must not know how
//     anything that a run owns is taken away.
//   - engine/trouble is the table of known ways to fail: what one sees, why, what to do. It must not know how any of them is
//     recognised.
//   - engine/checkup is what a check of the machine finds. It must not know what is checked.
//   - engine/failure is the error that names what was tried, on what, why it failed and what to do. It knows nothing
//     else.
//
// # How a run flows
//
// new namespaces, before the Go runtime starts (engine/rootless/leave.c) → main → buildah.InitReexec → flags → script.Parse →
// rootless.Enter (maps IDs) → script.Run → at the first verb with an effect: store.Open → New → … → Builder.Close (newest
// first: unmount, delete) → exit status.
package engine
