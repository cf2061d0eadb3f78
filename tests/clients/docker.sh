# shellcheck shell=bash
# The docker command line and a dockerd of our own. Never builds or runs a container, hence no bridge, no iptables.

docker_start() {
    export DOCKER_HOST=unix://$STATE/docker.sock
    mkdir -p "$STATE/empty"
    # vfs: the one storage driver that works on every file system.
    start dockerd dockerd --host "$DOCKER_HOST" --data-root "$STATE/docker" --exec-root "$STATE/docker.run" \
        --pidfile "$STATE/docker.pid" --storage-driver vfs \
        --bridge=none --iptables=false --ip-masq=false --ip-forward=false
    until_true dockerd docker version
}

docker_pull() { limited docker --config "$STATE/empty" pull "$1"; }
docker_direct() { limited docker --config "$STATE/token" pull "$1"; }
docker_helper() { limited docker --config "$STATE/helper" pull "$1"; }

# The image id and the digest it was pulled by.
docker_identity() {
    docker image inspect -f '{{.Id}}{{range .RepoDigests}}{{"\n"}}{{.}}{{end}}' "$1" | sed 's/.*@//' | sort -u | paste -s -d ' '
}

# dockerd keeps manifests in its containerd until the next garbage collection; with one left over, the next pull
# would not ask for it, and the one after that would.
docker_forget() {
    local images
    images=$(docker image ls --all --quiet --no-trunc | sort -u)
    # shellcheck disable=SC2086 # one word per image
    [ -z "$images" ] || docker image rm --force $images >/dev/null
    docker_content prune references
    [ -z "$(docker_content ls --quiet)" ] || die "dockerd keeps content after every image was removed"
}

docker_content() { ctr --address "$STATE/docker.run/containerd/containerd.sock" --namespace moby content "$@"; }

docker_more() { :; }
