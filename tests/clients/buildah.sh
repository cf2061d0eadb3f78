# shellcheck shell=bash
# buildah with storage of its own. Never starts a container.

buildah_start() {
    cat >"$STATE/etc/buildah.mirror.conf" <<TEXT
[[registry]]
prefix = "$ECR"
location = "$ECR"
[[registry.mirror]]
location = "$DAEMON/$ECR"
insecure = true
TEXT
}

# vfs: the one storage driver that works on every file system.
buildah_here() { limited buildah --root "$STATE/buildah/root" --runroot "$STATE/buildah/run" --storage-driver vfs "$@"; }

buildah_pull() { buildah_here pull "$1"; }
buildah_direct() { buildah_here pull --creds "AWS:$TOKEN" "$1"; }
buildah_helper() { buildah_here pull --authfile "$STATE/helper/config.json" "$1"; }

# By the name ECR gives it; a mirror in registries.conf leads to the daemon.
buildah_mirror() { CONTAINERS_REGISTRIES_CONF=$STATE/etc/buildah.mirror.conf buildah_pull "$1"; }

# The image id and the digest it was pulled by.
buildah_identity() { buildah_here inspect --type image "$1" | jq -r '"\(.FromImageID) \(.FromImageDigest)"'; }

buildah_forget() {
    buildah_here rmi --all --force >/dev/null
    [ -z "$(buildah_here images --quiet)" ] || die "buildah keeps images after every one was removed"
}

buildah_more() {
    local direct
    buildah_forget
    direct=$(identity buildah direct "$ECR/buildah/app:1")
    buildah_forget
    check_warm buildah mirror "pull under ECR's own name by a mirror" "$direct" "$ECR/buildah/app:1"
}
