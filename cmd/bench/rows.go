package main

import "fmt"

// row is one line of the table: some work, by three sides, and what rlbuild's share should be.
type row struct {
	name  string
	work  string
	needs []resource
	peer  side // nil where there is none, as the floor
	floor side
	ours  side
	goal  goal
	// long work warms itself up: it gets no round for that, which would cost more than it tells
	long bool
	// asked work runs only when it is asked for by name
	asked bool
}

// The peer's steps use runc and the host's network, the quickest way it has that works on Debian 12, whose crun and pasta are
// too old for it; chroot isolation, which works anywhere, has a row of its own. In the arguments, $NAME stands for what
// bench.value knows.
var table = []row{
	{
		name:  "start",
		work:  "`rlbuild -c pass` beside `buildah unshare true`",
		peer:  mean(10, wall("$buildah", "unshare", "true")),
		floor: mean(10, wall("unshare", "--map-root-user", "--map-auto", "--mount", "true")),
		ours:  mean(10, wall("$rlbuild", "-c", "pass")),
		goal:  goal{ofPeer, 1. / 2},
	},
	step("run", "runc", "run"),
	step("run-chroot", "chroot", "run_chroot"),
	{
		name:  "steps",
		work:  "from, 20 × run, config, commit, remove, start-up included (buildah: runc; floor: the 20 steps)",
		needs: []resource{busybox},
		peer:  wall("$buildah", "unshare", "$scripts/steps.sh"),
		floor: wall("unshare", "--map-root-user", "--map-auto", "--mount", "$scripts/steps-floor.sh", "$floor", "20"),
		ours:  wall("$rlbuild", "$scripts/steps.star"),
		goal:  goal{ofPeer, 1. / 30},
	},
	{
		name:  "config",
		work:  "`config` of a label",
		needs: []resource{busybox},
		peer:  reported(10, "$buildah", "unshare", "$scripts/verbs.sh", "config", "$n"),
		ours:  perVerb(2000, "config"), // so little each that fewer drown in the start-up
		goal:  goal{ofPeer, 1. / 20},
	},
	{
		name:  "copy",
		work:  "`copy` of a small file",
		needs: []resource{busybox},
		peer:  reported(10, "$buildah", "unshare", "$scripts/verbs.sh", "copy", "$n"),
		ours:  perVerb(100, "copy"),
		goal:  goal{ofPeer, 1. / 20},
	},
	{
		name:  "mount",
		work:  "`mount` and `umount`",
		needs: []resource{busybox},
		peer:  reported(10, "$buildah", "unshare", "$scripts/verbs.sh", "mount", "$n"),
		ours:  perVerb(100, "mount"),
		goal:  goal{ofPeer, 1. / 20},
	},
	{
		name:  "commit-tiny",
		work:  "`commit` of a layer of one small file",
		needs: []resource{busybox},
		peer:  reported(5, "$buildah", "unshare", "$scripts/tiny.sh", "peer $round", "$n"),
		ours:  reported(20, "$rlbuild", "$scripts/tiny.star", "token=ours $round", "n=$n"),
		goal:  goal{ofTime, 0.015},
	},
	{
		name:  "from",
		work:  "`from_`, `mount` and `remove` of the 170 MB image",
		needs: []resource{busybox, large},
		peer:  reported(10, "$buildah", "unshare", "$scripts/verbs.sh", "from", "$n"),
		ours:  perVerb(50, "from"),
		goal:  goal{ofTime, 0.015},
	},
	containers("open", 10),
	containers("open", 100),
	containers("open", 300),
	containers("removed", 300),
	{
		name:  "push",
		work:  "`push` of the 170 MB image again to where it is",
		needs: []resource{large, loopback},
		peer:  reported(1, "$buildah", "unshare", "$scripts/push.sh", "docker://$registry/peer/large"),
		ours:  reported(1, "$rlbuild", "$scripts/push.star", "dest=docker://$registry/ours/large"),
		goal:  goal{ofPeer, 1. / 10},
	},
	{
		name:  "push-forgotten",
		work:  "the same by a user whose cache doesn't know of the first push",
		needs: []resource{large, loopback},
		peer:  forgetful(reported(1, "$buildah", "unshare", "$scripts/push.sh", "docker://$registry/peer/large")),
		ours:  forgetful(reported(1, "$rlbuild", "$scripts/push.star", "dest=docker://$registry/ours/large")),
		goal:  goal{ofPeer, 1. / 10},
	},
	{
		name:  "commit",
		work:  "`commit` of 580 MB in 20,008 files to the store (floor: tar, SHA-256)",
		needs: []resource{tree},
		peer:  commitBy("peer", "localhost/bench:peer", ""),
		floor: wall("sh", "-c", `tar c -C "$tree" . | openssl dgst -sha256`),
		ours:  commitBy("ours", "localhost/bench:ours", ""),
		goal:  goal{ofFloor, 2},
		long:  true,
	},
	export("archive-gzip", "an OCI archive", "oci-archive:$work/$side.tar", "gzip"),
	export("archive-zstd", "an OCI archive", "oci-archive:$work/$side.tar", "zstd"),
	// The archives tell most of what a registry would.
	asked(export("registry-gzip", "a registry", "docker://$registry/$side/commit-gzip", "gzip")),
	asked(export("registry-zstd", "a registry", "docker://$registry/$side/commit-zstd", "zstd")),
	asked(row{
		name: "nginx",
		work: "`examples/debian-nginx`, mostly mmdebstrap's own time",
		peer: wall("$buildah", "unshare", "$scripts/nginx.sh"),
		ours: wall("$rlbuild", "examples/debian-nginx/nginx.star"),
		long: true,
	}),
}

// step is the row for a trivial run step, by one of the peer's isolations.
func step(name, isolation, verb string) row {
	return row{
		name:  name,
		work:  "one trivial `run` step (buildah: " + isolation + ")",
		needs: []resource{busybox},
		peer:  reported(5, "$buildah", "unshare", "$scripts/verbs.sh", verb, "$n"),
		floor: reported(50, "unshare", "--map-root-user", "--map-auto", "--mount", "$scripts/steps-floor.sh", "$floor", "$n"),
		ours:  perVerb(50, "run"),
		goal:  goal{ofPeer, 1. / 50},
	}
}

// containers is the row for that many containers in one script, all open until its end or each removed before the next.
// What one costs takes the floor's place: the cost of a container must not grow with their number.
func containers(state string, count int) row {
	return row{
		name:  fmt.Sprintf("containers-%s-%d", state, count),
		work:  fmt.Sprintf("one of %d containers, %s, in a script: `from_`, a file, `run` (floor: a single one)", count, state),
		needs: []resource{busybox},
		floor: mean(20, perVerb(1, state)),
		ours:  perVerb(count, state),
		goal:  goal{ofFloor, 1.2},
	}
}

// export is the row for the commit of the large tree straight to an archive or a registry, compressed.
func export(name, where, dest, compression string) row {
	// The floor's gzip is bench's own, with the library that buildah has: pigz makes as small a stream in 1.7 times the time.
	compressor := map[string]string{"gzip": `"$bench" -gzip`, "zstd": "zstd -q -T$cores -3"}[compression]
	return row{
		name:  name,
		work:  "the same straight to " + where + ", " + compression + " (floor: tar, " + compression + " on all cores)",
		needs: []resource{tree, loopback},
		peer:  commitBy("peer", dest, compression),
		floor: wall("sh", "-c", `tar c -C "$tree" . | `+compressor+" >/dev/null"),
		ours:  commitBy("ours", dest, compression),
		goal:  goal{ofFloor, 1.2},
		long:  true,
	}
}

// asked makes a row one that runs only when it is asked for by name.
func asked(r row) row {
	r.asked = true
	return r
}
