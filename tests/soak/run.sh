#!/usr/bin/env bash
# The daemon under random clients, faults, damage and kills, for some minutes; then four questions about what is left.
# Needs no root, touches nothing but one temporary folder and loopback. The same seed draws the same actions; when each of
# them meets a request is up to the machine.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin_dir=$here/../../target/debug
minutes=3
seed=$RANDOM
more=()

usage() {
    cat <<'TEXT'
usage: tests/soak/run.sh [--bin-dir DIR] [--minutes N] [--seed N] [--without KIND[,KIND...]] [--keep]

  --bin-dir DIR   where longshore and (examples/)fake-ecr are; default target/debug
  --minutes N     how long; default 3
  --seed N        draws the same actions again
  --without LIST  leave out some of: flips rot truncations deletions kills faults
  --keep          leave the folder with all logs behind, also when all is well
TEXT
}

die() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --bin-dir) bin_dir=${2:?--bin-dir needs a folder} && shift 2 ;;
        --minutes) minutes=${2:?--minutes needs a number} && shift 2 ;;
        --seed) seed=${2:?--seed needs a number} && shift 2 ;;
        --without) more+=(--without "${2:?--without needs a list}") && shift 2 ;;
        --keep) more+=(--keep) && shift ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
done

fake_ecr=$bin_dir/examples/fake-ecr
[ -x "$fake_ecr" ] || fake_ecr=$bin_dir/fake-ecr
for program in "$bin_dir/longshore" "$fake_ecr"; do
    [ -x "$program" ] || die "$program is missing; build it with: cargo build --bins --example fake-ecr"
done
exec python3 -B "$here/soak.py" --longshore "$bin_dir/longshore" --fake-ecr "$fake_ecr" --minutes "$minutes" \
    --seed "$seed" "${more[@]}"
