#!/usr/bin/env bash
# Longshore beside nginx, Debian's registry and Debian's credential helper: one command, tables with the targets, at most
# ten minutes.
# Never judges a figure and never touches this machine's own registries or credentials: everything runs in
# namespaces and one temporary folder that go away at the end.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin_dir=$here/../../target/release
runs=4
sections="helper pull a b c d e f"
only=$sections
json=
keep=no

usage() {
    cat <<'TEXT'
usage: tests/bench/run.sh [--bin-dir DIR] [--runs N] [--only SECTION[,SECTION...]] [--json FILE] [--keep]

  --bin-dir DIR  where the programs and the examples (in examples/ or beside them) are; default target/release
  --runs N       pairs of pulls for each row; rows of the credential helpers take five times as many; default 4
  --only LIST    some of: helper pull a b c d e f (the letters are those of the targets)
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
        --only) only=${2:?--only needs a list} && only=${only//,/ } && shift 2 ;;
        --json) json=${2:?--json needs a file} && shift 2 ;;
        --keep) keep=yes && shift ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
done
[[ $runs =~ ^[1-9][0-9]*$ ]] || die "--runs: $runs is not a number of runs"
for section in $only; do
    [[ " $sections " == *" $section "* ]] || die "--only: $section is none of: $sections"
done
[ -z "$json" ] || : >"$json" || die "--json: $json cannot be written"

# shellcheck source=tests/clients/enter.sh disable=SC1091 # checked on its own
. "$here/../clients/enter.sh"
need_programs "cargo build --release --locked --bins --examples && cargo rustc --release --locked \
--bin docker-credential-longshore -- -C target-feature=+crt-static"

examples=$(dirname "$fake_ecr")
for program in bench-client bench-origin; do
    [ -x "$examples/$program" ] || die "$program is missing; build it with: cargo build --release --locked --examples"
done

# shellcheck disable=SC1091 # checked on its own
. "$here/install.sh"
install_missing || die "something is missing and could not be installed"

make_state bench
enter "$here/inside.sh" PYTHONDONTWRITEBYTECODE=1 RUNS="$runs" ONLY="$only" \
    BENCH_CLIENT="$examples/bench-client" BENCH_ORIGIN="$examples/bench-origin"
code=$?
[ "$code" != 0 ] || [ -z "$json" ] || cp "$state/result.json" "$json" || code=1
exit "$code"
