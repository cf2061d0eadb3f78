#!/usr/bin/env bash
# Longshore beside Debian's credential helper and Debian's registry as a pull-through cache: one command, one table.
# Never judges a figure and never touches this machine's own registries or credentials: everything runs in
# namespaces and one temporary folder that go away at the end.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin_dir=$here/../../target/release
runs=15
json=
keep=no

usage() {
    cat <<'TEXT'
usage: tests/bench/run.sh [--bin-dir DIR] [--runs N] [--json FILE] [--keep]

  --bin-dir DIR  where longshore, docker-credential-longshore and (examples/)fake-ecr are; default target/release
  --runs N       pairs of pulls for each row; rows of the credential helpers take five times as many; default 15
  --json FILE    every single measurement, beside the table
  --keep         leave the folder with all logs behind and say where it is

Needs root (namespaces) and Debian's packages, which it installs when they are missing. Caches lie in TMPDIR: put it
on a real disk. Figures of a busy machine are noise; the ratios suffer least.
TEXT
}

die() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --bin-dir) bin_dir=${2:?--bin-dir needs a folder} && shift 2 ;;
        --runs) runs=${2:?--runs needs a number} && shift 2 ;;
        --json) json=${2:?--json needs a file} && shift 2 ;;
        --keep) keep=yes && shift ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
done
[[ $runs =~ ^[1-9][0-9]*$ ]] || die "--runs: $runs is not a number of runs"
[ -z "$json" ] || : >"$json" || die "--json: $json cannot be written"

[ "$(id -u)" = 0 ] || die "must be root: it makes namespaces and covers /etc/hosts in them"
bin_dir=$(cd "$bin_dir" 2>/dev/null && pwd) ||
    die "--bin-dir: no such folder; make target/release with: cargo build --release --locked --bins --example fake-ecr"
fake_ecr=$bin_dir/examples/fake-ecr
[ -x "$fake_ecr" ] || fake_ecr=$bin_dir/fake-ecr
for program in "$bin_dir/longshore" "$bin_dir/docker-credential-longshore" "$fake_ecr"; do
    [ -x "$program" ] ||
        die "$program is missing; build it with: cargo build --release --locked --bins --example fake-ecr"
done

# shellcheck disable=SC1091 # checked on its own
. "$here/install.sh"
install_missing || die "something is missing and could not be installed"

state=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX") || die "no temporary folder"
world=
# shellcheck disable=SC2317 # called by the trap
leave() {
    # The first process of the world dies with unshare, and every other one with it.
    [ -z "$world" ] || { kill -KILL "$world" && wait "$world"; } 2>/dev/null
    if [ "$keep" = yes ]; then echo "run.sh: logs are in $state" >&2; else rm -rf "$state"; fi
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# env -i: neither the developer's AWS credentials nor a proxy may reach the programs.
unshare --mount --propagation private --net --pid --fork --kill-child --mount-proc \
    env -i PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" LC_ALL=C PYTHONDONTWRITEBYTECODE=1 \
    STATE="$state" BIN_DIR="$bin_dir" FAKE_ECR="$fake_ecr" RUNS="$runs" \
    bash "$here/inside.sh" &
world=$!
wait "$world"
code=$?
world=
[ "$code" != 0 ] || [ -z "$json" ] || cp "$state/result.json" "$json" || code=1
exit "$code"
