package builtins

// buildExamples show the options of build.
var buildExamples = []string{
	`# a context with its Containerfile, arguments, a stage, and what is written beside the image
path("app").mkdir()
path("app/Containerfile").write("""
ARG BASE
FROM $BASE AS made
ARG VERSION
RUN echo "$VERSION on $(cat /from-lib)" > /version
FROM made AS tested
RUN grep 1.2 /version
""")
path("lib").mkdir()
path("lib/Containerfile").write("FROM scratch\nCOPY . /\n")
path("lib/from-lib").write("lib\n")
path("args").write("VERSION=1.2\n# a comment\n")
path("ignored").write("*.log\n")
library = build("lib", from_ = commit(ctr), ignorefile = "ignored", quiet = True, omit_history = True)
base = build(contents = """
FROM scratch
COPY --from=library / /
COPY --from=files from-lib /
ENV PATH=/bin
""", build_context = {"library": library, "files": path("lib")})
build("app", containerfile = "app/Containerfile", target = "made", build_arg = {"BASE": base.id}, build_arg_file = "args",
    env = {"LANG": "C.UTF-8", "TERM": None}, tag = ["localhost/example-made", "localhost/example-made:1.2"],
    iidfile = "iid", iidfile_raw = "iid-raw", metadata_file = "metadata.json", logfile = "build.log",
    output = ["type=tar,dest=made.tar", path("made")])
print(path("iid").read(), path("made/version").read())`,
	`# labels and the like, and the times
image = build(contents = "FROM base\nLABEL own=label\n", build_context = {"base": commit(ctr)}, format = "oci",
    label = {"version": "1"}, annotation = {"org.opencontainers.image.title": "example"}, unsetenv = "HOME", unsetlabel = "old",
    unsetannotation = ["old"], inherit_labels = False, inherit_annotations = False, identity_label = False,
    created_annotation = False, source_date_epoch = 1700000000, rewrite_timestamp = True, squash = True)
print(inspect(image)["OCIv1"]["config"]["Labels"])
build(contents = "FROM scratch\nLABEL a=b\n", timestamp = 0, pull = "never", decryption_key = [])`,
	`# layers: the second time nothing is done
def again(**options):
    return build(contents = "FROM base AS first\nRUN echo done > /done\nFROM first\nRUN cat /done\n", layers = True,
        build_context = {"base": base}, **options)

base = commit(ctr, "localhost/example-base", timestamp = 0)
first = again(layer_label = {"part": "layer"}, cache_ttl = "24h", jobs = 2, skip_unused_stages = False)
second = again(no_cache = True, save_stages = True, stage_labels = True, rm = True, force_rm = True)
if arg("registry", default = ""):
    again(cache_from = arg("registry") + "/cache", cache_to = arg("registry") + "/cache", compression_format = "zstd",
        compression_level = 3, force_compression = True, authfile = "auth.json", cert_dir = "certs", creds = arg("creds"),
        tls_verify = True, retry = 5, retry_delay = "10s")`,
	`# several platforms: a list of images, or a list in the store
images = build(contents = "FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\n", platform = ["linux/amd64", "linux/arm64"])
print([inspect(image)["OCIv1"]["architecture"] for image in images])
many = build(contents = "FROM scratch\nLABEL a=b\n", platform = ["linux/amd64", "linux/arm64"], manifest = "localhost/example-many")
build(contents = "FROM scratch\nLABEL a=b\n", os = "linux", arch = "arm", variant = "v7", os_version = "1", os_feature = "x",
    tag = "oci-archive:arm.tar", disable_compression = False)
if arg("registry", default = ""):
    build(contents = "FROM " + arg("registry") + "/base\nRUN true\n", all_platforms = True, manifest = "localhost/example-all",
        logfile = "build.log", logsplit = True)`,
	`# what RUN finds: secrets, agents, mounts, names, limits
path("token").write("secret\n", mode = 0o600)
path("shared").mkdir()
build(contents = """
FROM base
RUN --mount=type=secret,id=token test -s /run/secrets/token; touch /scratch/gone; ls /shared
""", build_context = {"base": commit(ctr)}, secret = secret("token", src = "token"), volume = str(path("shared")) + ":/shared:ro",
    mount = [tmpfs("/scratch", size = "1m"), bind("shared", "/in"), "type=cache,target=/var/cache"], isolation = "chroot", stdin = False, compat_volumes = False,
    cap_add = "net_admin", cap_drop = ["mknod"], add_host = ["db.internal:192.0.2.7"], dns = ["192.0.2.53"],
    dns_search = "example.com", dns_option = "ndots:2", http_proxy = False, shm_size = "16m", ulimit = ["nofile=256:512"],
    security_opt = ["no-new-privileges"], network = "host", uts = "private", no_hosts = False, no_hostname = True,
    group_add = "33", userns = "host")
build(contents = "FROM base\nRUN grep -q 999 /proc/self/uid_map\n", build_context = {"base": commit(ctr)}, isolation = "chroot",
    userns_uid_map = ["0:0:1", "1:1:999"], userns_gid_map = ["0:0:1", "1:1:999"])
if arg("agent", default = ""):
    build("app", ssh = ssh(src = arg("agent")), device = "/dev/fuse", cdi_config_dir = "cdi", ipc = "private", pid = "private",
        cgroupns = "private", cgroup_parent = "/builds", cpu_period = 100000, cpu_quota = 50000, cpu_shares = 512,
        cpuset_cpus = "0", cpuset_mems = "0", memory = "512m", memory_swap = "1g", runtime = "/usr/bin/crun",
        runtime_flag = "debug", userns_uid_map_user = "jane", userns_gid_map_group = "jane", hooks_dir = "hooks")`,
	`# a scan, rules for sources, the C preprocessor; signatures
scanner = commit(ctr, "localhost/example-scanner")
build(contents = "FROM localhost/example-scanner\nLABEL a=b\n", sbom_scanner_image = "localhost/example-scanner",
    sbom_scanner_command = ["sh -c 'ls {ROOTFS}/bin > {OUTPUT}'"], sbom_merge_strategy = "cat", sbom_output = "programs.txt",
    sbom_image_output = "/usr/share/programs.txt", pull = "never")
path("policy.json").write(json.encode({"rules": [{"action": "DENY", "selector": {"identifier": "docker-image://example.com/*"}}]}))
build(contents = "FROM scratch\nLABEL a=b\n", source_policy_file = "policy.json")
if arg("more", default = ""):
    build(containerfile = "Containerfile.in", cpp_flag = "-DVERSION=1")
    build("app", sbom = "syft-spdx", sbom_purl_output = "packages.txt", sbom_image_purl_output = "/usr/share/packages.txt")
    build("app", tag = "localhost/example-signed", sign_by = "jane@example.net", sign_passphrase_file = "passphrase")
    build("app", tag = "localhost/example-signed", sign_by_sigstore_private_key = "sigstore.private")
    build("app", cw = {"type": "snp", "passphrase": arg("passphrase")})`,
}
