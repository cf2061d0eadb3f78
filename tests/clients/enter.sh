# shellcheck shell=bash
# The way into the namespaces, for every script that runs programs in a world of their own. Never says what happens there.
# Whoever sources it has a function die, and sets bin_dir and keep from its arguments.

# need_programs HOW: root, and the three programs in bin_dir; HOW says how they are built.
need_programs() {
    local program
    [ "$(id -u)" = 0 ] || die "must be root: it makes namespaces and covers folders of the machine in them"
    bin_dir=$(cd "$bin_dir" 2>/dev/null && pwd) || die "--bin-dir: no such folder; build it with: $1"
    fake_ecr=$bin_dir/examples/fake-ecr
    [ -x "$fake_ecr" ] || fake_ecr=$bin_dir/fake-ecr
    for program in "$bin_dir/longshore" "$bin_dir/docker-credential-longshore" "$fake_ecr"; do
        [ -x "$program" ] || die "$program is missing; build it with: $1"
    done
}

# make_state NAME: the temporary folder, in state. It goes away with the script, and the world does too.
make_state() {
    state=$(mktemp -d "${TMPDIR:-/tmp}/$1.XXXXXX") || die "no temporary folder"
    world=
    trap leave EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# shellcheck disable=SC2317 # called by the trap
leave() {
    # The first process of the world dies with unshare, and every other one with it.
    [ -z "$world" ] || { kill -KILL "$world" && wait "$world"; } 2>/dev/null
    if [ "${keep:-no}" = yes ]; then echo "run.sh: logs are in $state" >&2; else rm -rf "$state"; fi
}

# enter SCRIPT [NAME=VALUE...]: runs the script as the first process of new namespaces and returns its exit code.
enter() {
    local script=$1 code
    shift
    # env -i: neither the developer's AWS credentials nor a proxy may reach the programs.
    unshare --mount --propagation private --net --pid --fork --kill-child --mount-proc \
        env -i PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" LC_ALL=C \
        STATE="$state" BIN_DIR="$bin_dir" FAKE_ECR="$fake_ecr" "$@" \
        bash "$script" &
    world=$!
    wait "$world"
    code=$?
    world=
    return "$code"
}
