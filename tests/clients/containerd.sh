# shellcheck shell=bash
# A containerd of our own and ctr. Never starts a container; the CRI plugin would want a network and is off.

containerd_start() {
    export CONTAINERD_ADDRESS=$STATE/containerd/containerd.sock
    mkdir -p "$STATE/containerd" "$STATE/hosts/$ECR"
    cat >"$STATE/containerd/config.toml" <<TEXT
version = 2
root = "$STATE/containerd/root"
state = "$STATE/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$CONTAINERD_ADDRESS"
[ttrpc]
address = "$CONTAINERD_ADDRESS.ttrpc"
TEXT
    cat >"$STATE/hosts/$ECR/hosts.toml" <<TEXT
server = "https://$ECR"
[host."http://127.0.0.1:5577"]
  capabilities = ["pull", "resolve"]
TEXT
    start containerd containerd --config "$STATE/containerd/config.toml"
    until_true containerd ctr version
}

# native: the snapshotter that works on every file system.
containerd_pull() { limited ctr images pull --snapshotter native "$1"; }
containerd_direct() { limited ctr images pull --snapshotter native --user "AWS:$TOKEN" "$1"; }

# ctr knows no credential helpers: ask it as a script would.
containerd_helper() {
    local secret
    if ! secret=$(printf '%s' "$ECR" | docker-credential-longshore get | jq -er .Secret); then
        echo "the credential helper gave nothing"
        return 1
    fi
    limited ctr images pull --snapshotter native --user "AWS:$secret" "$1"
}

# By the name ECR gives it; hosts.toml leads to the daemon with ns=.
containerd_mirror() { limited ctr images pull --snapshotter native --hosts-dir "$STATE/hosts" "$1"; }

# The digest of the index the name stands for, and that of this machine's image configuration.
containerd_identity() {
    local index manifest
    index=$(ctr images ls "name==$1" | awk 'NR == 2 { print $3 }')
    manifest=$(ctr content get "$index" | jq -r --arg arch "$(go_arch)" \
        'if .manifests then .manifests[] | select(.platform.architecture == $arch).digest else empty end')
    echo "$index $(ctr content get "${manifest:-$index}" | jq -r .config.digest)"
}

go_arch() {
    case $(uname -m) in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
    esac
}

containerd_forget() {
    local images
    images=$(ctr images ls --quiet)
    # shellcheck disable=SC2086 # one word per image
    [ -z "$images" ] || ctr images rm --sync $images >/dev/null
    ctr content prune references
    [ -z "$(ctr content ls --quiet)" ] || die "containerd keeps content after everything was removed"
}

containerd_more() {
    local direct
    containerd_forget
    direct=$(identity containerd direct "$ECR/containerd/app:1")
    containerd_forget
    check_warm containerd mirror "pull under ECR's own name by hosts.toml" "$direct" "$ECR/containerd/app:1"
}
