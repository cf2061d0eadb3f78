# shellcheck shell=bash
# podman with storage of its own. Never starts a container.

podman_start() {
    cat >"$STATE/etc/podman.mirror.conf" <<TEXT
[[registry]]
prefix = "$ECR"
location = "$ECR"
[[registry.mirror]]
location = "$DAEMON/$ECR"
insecure = true
TEXT
}

# vfs: the one storage driver that works on every file system.
podman_here() { limited podman --root "$STATE/podman/root" --runroot "$STATE/podman/run" --storage-driver vfs "$@"; }

podman_pull() { podman_here pull "$1"; }
podman_direct() { podman_here pull --creds "AWS:$TOKEN" "$1"; }
podman_helper() { podman_here pull --authfile "$STATE/helper/config.json" "$1"; }

# By the name ECR gives it; a mirror in registries.conf leads to the daemon.
podman_mirror() { CONTAINERS_REGISTRIES_CONF=$STATE/etc/podman.mirror.conf podman_pull "$1"; }

# The image id and the digest it was pulled by.
podman_identity() { podman_here image inspect --format '{{.Id}} {{.Digest}}' "$1"; }

podman_forget() {
    podman_here rmi --all --force >/dev/null
    [ -z "$(podman_here images --quiet)" ] || die "podman keeps images after every one was removed"
}

podman_more() {
    local direct
    podman_forget
    direct=$(identity podman direct "$ECR/podman/app:1")
    podman_forget
    check_warm podman mirror "pull under ECR's own name by a mirror" "$direct" "$ECR/podman/app:1"
}
