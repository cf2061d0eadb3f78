#!/usr/bin/env bash
# Tests install.sh for real: as a release archive made of the given programs, into a home and a prefix of its own.
# Never touches the person's home, Docker configuration or services: `id`, `uname` and the service managers are
# stand-ins, everything else is real.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin_dir=$here/target/debug

usage() {
    cat <<'TEXT'
usage: tests/install.sh [--bin-dir DIR]
  --bin-dir DIR  where longshore, docker-credential-longshore and (examples/)fake-ecr are; default target/debug
TEXT
}

die() {
    printf 'tests/install.sh: %s\n' "$*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --bin-dir) bin_dir=${2:?--bin-dir needs a folder} && shift 2 ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
done

fake_ecr=$bin_dir/examples/fake-ecr
[ -x "$fake_ecr" ] || fake_ecr=$bin_dir/fake-ecr
for program in "$bin_dir/longshore" "$bin_dir/docker-credential-longshore" "$fake_ecr"; do
    [ -x "$program" ] || die "$program is missing; build it with: cargo build --bins --example fake-ecr"
done
for program in dash curl pgrep xmllint systemd-analyze; do
    command -v "$program" >/dev/null || die "$program is missing; tests/run.sh --packages installs it"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/install.XXXXXX") || die "no temporary folder"
demo_pid=
# shellcheck disable=SC2317 # called by the trap
leave() {
    [ -z "$demo_pid" ] || kill "$demo_pid" 2>/dev/null
    rm -rf "$work"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

passed=0
failed=0

# fact NAME COMMAND...: holds when the command succeeds.
fact() {
    local name=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        passed=$((passed + 1))
        echo "ok $name"
    else
        failed=$((failed + 1))
        echo "not ok $name"
        sed 's/^/    /' "$work/said" "$work/output" 2>/dev/null
    fi
}

# poll COMMAND...: asks ten times a second, for a minute.
poll() {
    local tries
    for ((tries = 600; tries > 0; tries--)); do
        "$@" && return 0
        sleep 0.1
    done
    return 1
}

# --- the world

archive="$work/longshore 0.1"
home="$work/a home"
registry=123456789012.dkr.ecr.eu-west-1.amazonaws.com
other=210987654321.dkr.ecr.us-east-1.amazonaws.com

make_archive() {
    mkdir -p "$archive/bin" "$work/stand-ins" "$work/temporary"
    cp "$here/install.sh" "$archive/"
    cp -R "$here/packaging" "$archive/"
    cp "$bin_dir/longshore" "$bin_dir/docker-credential-longshore" "$archive/bin/"
    cp "$fake_ecr" "$archive/bin/fake-ecr"
}

# Programs that lie about the person, the system and its service manager. Each call to a manager is written down.
# shellcheck disable=SC2016 # expanded when the stand-in runs
make_stand_ins() {
    stand_in id 'echo "$STAND_IN_USER"'
    stand_in uname 'case $1 in -s) echo "$STAND_IN_SYSTEM" ;; *) echo x86_64 ;; esac'
    stand_in systemctl '[ "$STAND_IN_MANAGER" = runs ] || exit 1
        echo "systemctl $*" >>"$STAND_IN_LOG"
        case $* in
            "--user show"*) echo "$HOME/.config/systemd/user/longshore.service" ;;
            "show"*) echo "$STAND_IN_PREFIX/lib/systemd/system/longshore.service" ;;
        esac'
    stand_in launchctl '[ "$STAND_IN_MANAGER" = runs ] || exit 1
        echo "launchctl $*" >>"$STAND_IN_LOG"
        case $1:$2 in
            bootstrap:*) : >"$STAND_IN_LOG.loaded" ;;
            bootout:*) rm -f "$STAND_IN_LOG.loaded" ;;
            print:*/longshore) [ -e "$STAND_IN_LOG.loaded" ] ;;
        esac'
}

stand_in() {
    printf '#!/bin/sh\n# A stand-in for %s, of tests/install.sh; never the real one.\n%s\n' "$1" "$2" >"$work/stand-ins/$1"
    chmod 755 "$work/stand-ins/$1"
}

# A home as a person has it: Docker's own way to write JSON, keys that are none of our business.
make_home() {
    rm -rf "$home" "$work/calls" "$work/calls.loaded"
    mkdir -p "$home/.docker"
    : >"$work/calls"
    printf '%s\n' '{' \
        $'\t"auths": {' \
        $'\t\t"registry.example.com": {' \
        $'\t\t\t"auth": "cHVsbGVyOnNlY3JldA=="' \
        $'\t\t}' \
        $'\t},' \
        $'\t"zeta": [1.50, 1e3, "\\u00e9 <&>"],' \
        $'\t"credHelpers": {' \
        $'\t\t"gcr.example.com": "gcloud"' \
        $'\t},' \
        $'\t"currentContext": "build"' >"$home/.docker/config.json"
    printf '}' >>"$home/.docker/config.json"
    chmod 600 "$home/.docker/config.json"
    cp "$home/.docker/config.json" "$work/config.before"
}

user=1000
system=Linux
manager=runs
prefix="$home/.local"

# install OPTION...: runs it as the chosen person; its output is in $work/output, its status is in $status.
install() {
    (
        # The number stays the same through both.
        cd "$work" && echo "$BASHPID" >"$work/pid" && exec env -i HOME="$home" TMPDIR="$work/temporary" \
            PATH="${path:-$work/stand-ins:${prefix:+$prefix/bin:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}" \
            STAND_IN_USER="$user" STAND_IN_SYSTEM="$system" STAND_IN_MANAGER="$manager" \
            STAND_IN_LOG="$work/calls" STAND_IN_PREFIX="$prefix" \
            dash "$archive/install.sh" "$@"
    ) >"$work/output" 2>&1
    status=$?
}

status_is() { [ "$status" = "$1" ] || { echo "status $status, not $1" && false; }; }
said() { grep -q -- "$1" "$work/output" || { echo "not said: $1" && false; }; }
called() { grep -q -- "$1" "$work/calls" || { echo "not called: $1" && cat "$work/calls" && false; }; }
same_file() { cmp "$1" "$2"; }
absent() { [ ! -e "$1" ] && [ ! -L "$1" ]; }
contains() { grep -q -F -- "$2" "$1" || { cat "$1" && false; }; }
lacks() { ! grep -n -F -- "$2" "$1"; }
is_empty() { [ -z "$(ls -A "$1")" ] || { ls -A "$1" && false; }; }
has_mode() { [ "$(stat -c %a "$1")" = "$2" ] || { stat -c '%a %n' "$1" && false; }; }

# Every file with what would change if somebody wrote it anew.
snapshot() { find "$home" "$prefix" -type f -printf '%p %i %m %T@\n' | sort -u; }

# Docker's configuration has every line it had, in order; a comma at the end may be new.
keeps_every_line() {
    local missing
    missing=$(diff <(sed 's/,$//' "$work/config.before") <(sed 's/,$//' "$home/.docker/config.json") | grep '^<')
    [ -z "$missing" ] || { printf '%s\n' "lost:" "$missing" && false; }
}

has_backup() {
    local file
    for file in "$home"/.docker/*; do
        [ "$file" = "$home/.docker/config.json" ] || ! cmp -s "$file" "$work/config.before" || return 0
    done
    ls -la "$home/.docker" && false
}

# --- the subjects

check_options() {
    install --help
    fact "--help succeeds" status_is 0
    fact "--help shows the usage" said "usage: ./install.sh"
    local options
    for options in "--bogus" "surplus" "--prefix" "--registry" "--registry https://host/x" "--demo --uninstall"; do
        # shellcheck disable=SC2086 # split on purpose
        install $options
        fact "'$options' is a mistake" status_is 2
        fact "'$options' shows the usage" said "usage: ./install.sh"
    done
    fact "dash reads install.sh" dash -n "$here/install.sh"
}

check_user() {
    make_home
    prefix="$home/.local"
    install --registry "$registry" --registry "$other"
    fact "a person's installation succeeds" status_is 0
    fact "the daemon is installed" same_file "$archive/bin/longshore" "$prefix/bin/longshore"
    fact "the helper is installed" \
        same_file "$archive/bin/docker-credential-longshore" "$prefix/bin/docker-credential-longshore"
    fact "the daemon may be run by all" has_mode "$prefix/bin/longshore" 755
    fact "the helper may be run by all" has_mode "$prefix/bin/docker-credential-longshore" 755
    local unit="$home/.config/systemd/user/longshore.service"
    fact "the unit starts what was installed" contains "$unit" "ExecStart=\"$prefix/bin/longshore\" serve"
    fact "nothing in the unit is left to fill in" lacks "$unit" "@"
    fact "systemd takes the unit" env XDG_RUNTIME_DIR="$work/temporary" systemd-analyze --user verify "$unit"
    fact "the service is started" called "systemctl --user restart longshore.service"
    fact "the service is started at login" called "systemctl --user enable --quiet longshore.service"
    fact "docker asks Longshore for the first registry" contains "$home/.docker/config.json" "\"$registry\": \"longshore\""
    fact "docker asks Longshore for the second registry" contains "$home/.docker/config.json" "\"$other\": \"longshore\""
    fact "the rest of docker's configuration is untouched" keeps_every_line
    fact "docker's configuration stays private" has_mode "$home/.docker/config.json" 600
    fact "docker's configuration has a backup" has_backup
    rm -rf "$work/temporary/systemd"
    fact "no temporary file is left" is_empty "$work/temporary"
    check_again
    check_upgrade
    check_uninstall "$unit"
}

# Docker is never pointed at a helper that it would not find.
check_path() {
    make_home
    prefix="$home/.local"
    cp "$home/.docker/config.json" "$work/docker.before"
    path="$work/stand-ins:/usr/bin:/bin" install --registry "$registry"
    fact "off PATH, an installation succeeds" status_is 0
    fact "off PATH, it says that it is" said "is not on PATH"
    fact "off PATH, it says how to wire Docker later" said "longshore setup docker --registry $registry"
    fact "off PATH, Docker's configuration is left as it is" cmp -s "$home/.docker/config.json" "$work/docker.before"
    install
    fact "on PATH, Docker asks Longshore for ECR Public" contains "$home/.docker/config.json" '"public.ecr.aws": "longshore"'
}

check_again() {
    snapshot >"$work/before"
    : >"$work/calls"
    install --registry "$registry" --registry "$other"
    snapshot >"$work/after"
    fact "a second installation succeeds" status_is 0
    fact "a second installation changes no file" diff "$work/before" "$work/after"
    fact "a second installation does not restart the service" called "systemctl --user start longshore.service"
    install --registry "$registry"
    fact "a folder on PATH is not warned about" lacks "$work/output" "is not on PATH"
}

check_upgrade() {
    echo >>"$archive/bin/docker-credential-longshore"
    : >"$work/calls"
    install --registry "$registry"
    fact "a new helper replaces the old one" \
        same_file "$archive/bin/docker-credential-longshore" "$prefix/bin/docker-credential-longshore"
    fact "an upgrade restarts the service" called "systemctl --user restart longshore.service"
}

check_uninstall() {
    mkdir -p "$home/.cache/longshore"
    : >"$work/calls"
    install --uninstall
    fact "uninstalling succeeds" status_is 0
    fact "the daemon is removed" absent "$prefix/bin/longshore"
    fact "the helper is removed" absent "$prefix/bin/docker-credential-longshore"
    fact "the unit is removed" absent "$1"
    fact "the service is stopped" called "systemctl --user disable --now --quiet longshore.service"
    fact "docker's configuration is what it was" same_file "$work/config.before" "$home/.docker/config.json"
    fact "the cache stays" test -d "$home/.cache/longshore"
    fact "the way to delete the cache is told" said "rm -rf '$home/.cache/longshore'"
    install --uninstall
    fact "uninstalling twice succeeds" status_is 0
}

check_without_manager() {
    make_home
    manager=stopped
    install --registry "$registry"
    fact "without a service manager the installation succeeds" status_is 0
    fact "without a service manager the way to start is told" said "start it by hand: .*longshore serve"
    manager=runs
}

check_no_docker_configuration() {
    make_home
    rm -r "$home/.docker"
    install --registry "$registry"
    fact "docker's configuration is made when there is none" contains "$home/.docker/config.json" "\"$registry\""
    install --uninstall
    fact "docker's configuration goes when there was none" absent "$home/.docker/config.json"
}

check_broken_docker_configuration() {
    make_home
    printf '{"auths": {' >"$home/.docker/config.json"
    cp "$home/.docker/config.json" "$work/config.before"
    install --registry "$registry"
    fact "a broken docker configuration is an error" status_is 1
    fact "a broken docker configuration is left alone" same_file "$work/config.before" "$home/.docker/config.json"
}

check_choices() {
    make_home
    prefix="$work/pre fix & 100%h|x"
    install --prefix "$prefix" --no-docker --no-service
    fact "--prefix is obeyed" test -x "$prefix/bin/longshore"
    fact "--no-docker leaves docker alone" same_file "$work/config.before" "$home/.docker/config.json"
    fact "--no-service installs no unit" absent "$home/.config/systemd"
    fact "--no-service calls no service manager" is_unused
    install --prefix "$prefix" --no-docker
    fact "systemd finds a program in a folder with an odd name" \
        env XDG_RUNTIME_DIR="$work/temporary" systemd-analyze --user verify "$home/.config/systemd/user/longshore.service"
    install --prefix "$prefix" --no-docker --uninstall
    fact "uninstalling from a prefix removes the program" absent "$prefix/bin/longshore"
    rm -rf "$work/temporary/systemd"
    prefix="$home/.local"
}

is_unused() { [ ! -s "$work/calls" ] || { cat "$work/calls" && false; }; }

check_root() {
    make_home
    user=0
    prefix=$work/machine
    install --prefix "$prefix" --no-docker
    fact "root's installation succeeds" status_is 0
    local unit=$prefix/lib/systemd/system/longshore.service
    fact "root's unit lies below the prefix" contains "$unit" "ExecStart=\"$prefix/bin/longshore\" serve"
    fact "systemd takes root's unit" systemd-analyze verify "$unit"
    fact "a prefix that systemd does not search is not started" said "systemctl enable --now $unit"
    install --prefix "$prefix" --no-docker --uninstall
    fact "root's unit is removed" absent "$unit"
    user=1000
    prefix="$home/.local"
}

check_macos() {
    make_home
    system=Darwin
    local plist=$home/Library/LaunchAgents/longshore.plist
    install --no-docker
    fact "on macOS the installation succeeds" status_is 0
    fact "the agent starts what was installed" contains "$plist" "<string>$prefix/bin/longshore</string>"
    fact "the agent is XML" xmllint --noout --nonet "$plist"
    fact "nothing in the agent is left to fill in" lacks "$plist" "@"
    fact "the agent is started" called "launchctl bootstrap gui/1000 $plist"
    : >"$work/calls"
    install --no-docker
    fact "a second installation does not restart the agent" lacks "$work/calls" "boot"
    install --no-docker --uninstall
    fact "the agent is stopped" called "launchctl bootout gui/1000/longshore"
    fact "the agent is removed" absent "$plist"
    system=Linux
}

# Without programs beside it, install.sh builds; here only what it says when it cannot.
# shellcheck disable=SC2016 # expanded when the stand-in runs
check_toolchain_messages() {
    make_home
    mkdir "$work/tools"
    local tool
    for tool in awk cat chmod cmp cp dash dirname grep mkdir mktemp mv printf rm sed; do
        ln -s "$(type -P "$tool")" "$work/tools/$tool"
    done
    mv "$archive/bin" "$work/programs"
    local path=$work/stand-ins:$work/tools
    install
    fact "neither programs nor sources is an error" said "neither bin/longshore nor Cargo.toml"
    cp "$here/Cargo.toml" "$archive/"
    install
    fact "a missing cargo is an error" status_is 1
    fact "a missing cargo is named with the remedy" said "cargo is missing: install Rust [0-9.]* or newer"
    stand_in cargo 'echo "cargo 1.63.0 (fd9c4297c 2022-07-01)"'
    install
    fact "an old Rust is an error" status_is 1
    fact "an old Rust is named with the remedy" said "Rust 1.63.0 is too old, .*rustup update"
    stand_in cargo 'echo "cargo 2.0.0-nightly"'
    install
    fact "a missing C compiler is an error" status_is 1
    fact "a missing C compiler is named with the remedy" said "a C compiler is missing .*apt-get install gcc"
    stand_in cc 'exit 1'
    stand_in cargo 'case $1 in --version) echo "cargo 1.95.0" ;; *) echo "called: $*"; exit 101 ;; esac'
    install
    fact "the programs are built from the lock file, optimised" said "called: build --release --locked .*--bins"
    fact "a failed build is an error" said "the build failed"
    fact "a failed build installs nothing" absent "$prefix/bin"
    rm "$work/stand-ins/cargo" "$work/stand-ins/cc" "$archive/Cargo.toml"
    mv "$work/programs" "$archive/bin"
}

demo_runs() { [ -s "$(echo "$work"/temporary/longshore.*/daemon.log)" ]; }
nothing_runs() { ! pgrep -f "$archive/bin/fake-ecr|$prefix/bin/longshore" >/dev/null; }

check_demo() {
    make_home
    prefix=$work/demonstration
    install --demo --prefix "$prefix" --no-docker --no-service
    fact "the demo succeeds" status_is 0
    fact "the demo shows a cold pull with bytes from upstream" said '^cold .* [1-9][0-9]* .*S3 [1-9]'
    fact "the demo shows a warm pull without" said '^warm .* 0 .*1 (registry 1, S3 0)'
    fact "the demo leaves no temporary file" is_empty "$work/temporary"
    fact "the demo leaves no process" nothing_runs
    fact "the demo leaves no file at home" is_home_unchanged
    check_demo_can_fail
    check_interrupted_demo
}

is_home_unchanged() { [ "$(cd "$home" && find . -type f)" = ./.docker/config.json ]; }

# A curl that finds one more request in the fake ECR's log.
check_demo_can_fail() {
    # shellcheck disable=SC2016 # expanded when the stand-in runs
    stand_in curl 'case $* in
            *"-X DELETE"*) exec '"$(type -P curl)"' "$@" ;;
            */requests) ;;
            *) exec '"$(type -P curl)"' "$@" ;;
        esac
        while [ "$1" != -o ]; do shift; done
        echo "[{\"listener\":\"registry\",\"method\":\"HEAD\",\"bytes_sent\":0},
            {\"listener\":\"s3\",\"method\":\"GET\",\"bytes_sent\":9}]" >"$2"'
    install --demo --prefix "$prefix" --no-docker --no-service
    fact "a warm pull that asks for a blob is a failure" status_is 1
    fact "a warm pull that asks for a blob is named" said "the warm pull asked for blobs upstream"
    rm "$work/stand-ins/curl"
}

check_interrupted_demo() {
    install --demo --prefix "$prefix" --no-docker --no-service &
    demo_pid=$!
    fact "the demo can be caught at work" poll demo_runs
    kill -TERM "$(cat "$work/pid")"
    wait "$demo_pid"
    demo_pid=
    fact "an interrupted demo leaves no process" nothing_runs
    fact "an interrupted demo leaves no temporary file" is_empty "$work/temporary"
}

make_archive
make_stand_ins
make_home
check_options
check_user
check_path
check_without_manager
check_no_docker_configuration
check_broken_docker_configuration
check_choices
check_root
check_macos
check_toolchain_messages
check_demo

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
