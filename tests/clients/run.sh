#!/usr/bin/env bash
# Real clients (dockerd, containerd, podman, buildah, skopeo) against the daemon, with a fake ECR as upstream, and
# (credentials) those that ask a credential helper against the registries themselves.
# Never touches this machine's own registries, images or services: everything runs in namespaces and one
# temporary folder that go away at the end. Never skips: a client that is missing is installed or is an error.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all_clients="docker containerd podman buildah skopeo credentials"
bin_dir=$here/../../target/debug
clients=$all_clients
keep=no

usage() {
    cat <<'TEXT'
usage: tests/clients/run.sh [--bin-dir DIR] [--only CLIENT[,CLIENT...]] [--keep]

  --bin-dir DIR  where longshore, docker-credential-longshore and (examples/)fake-ecr are; default target/debug
  --only LIST    some of: docker containerd podman buildah skopeo credentials
  --keep         leave the folder with all logs behind and say where it is

Needs root (namespaces, mounts, dockerd) and Debian's packages, which it installs when they are missing.
TEXT
}

die() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --bin-dir) bin_dir=${2:?--bin-dir needs a folder} && shift 2 ;;
        --only) clients=${2:?--only needs a list} && clients=${clients//,/ } && shift 2 ;;
        --keep) keep=yes && shift ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
done
for client in $clients; do
    [[ " $all_clients " == *" $client "* ]] || die "--only: $client is none of: $all_clients"
done

# shellcheck source=tests/clients/enter.sh disable=SC1091 # checked on its own
. "$here/enter.sh"
need_programs "cargo build --bins --examples"

# shellcheck disable=SC1091 # checked on its own
. "$here/install.sh"
install_missing || die "a client is missing and could not be installed"

make_state clients
enter "$here/inside.sh" CLIENTS="$clients" \
    PATH="$state/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
