#!/bin/sh
# Installs Longshore for one person or, as root, for a machine; builds it when no programs lie beside this script.
# Never installs a toolchain, never edits a Docker configuration itself (`longshore setup docker` does), never
# deletes the cache. Running it again changes nothing that is already right.
set -eu

usage() {
    cat <<'TEXT'
usage: ./install.sh [option]...
  --prefix DIR      programs go to DIR/bin; default ~/.local, for root /usr/local
  --registry HOST   let Docker ask Longshore for the credentials of this registry; may be repeated,
                    e.g. 123456789012.dkr.ecr.eu-west-1.amazonaws.com
  --no-service      no systemd or launchd service
  --no-docker       leave the Docker configuration alone
  --demo            after installing, show a cold and a warm pull; needs no AWS account
  --uninstall       remove what was installed; the cache stays
  --help            this text
TEXT
}

say() {
    printf '%-11s %s\n' "$1" "$2"
}

die() {
    printf 'install.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

mistake() {
    printf 'install.sh: %s\n' "$1" >&2
    usage >&2
    exit 2
}

# until_true TRIES COMMAND...: asks ten times a second, gives up after TRIES.
until_true() {
    tries=$1
    shift
    while [ "$tries" -gt 0 ]; do
        if "$@"; then return 0; fi
        tries=$((tries - 1))
        sleep 0.1
    done
    return 1
}

# --- what was asked for

prefix=
registries=
service=yes
docker=yes
demo=
uninstall=

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --prefix | --registry)
                [ -n "${2:-}" ] || mistake "$1 needs a value"
                take_value "$1" "$2"
                shift
                ;;
            --prefix=?* | --registry=?*) take_value "${1%%=*}" "${1#*=}" ;;
            --no-service) service=no ;;
            --no-docker) docker=no ;;
            --demo) demo=yes ;;
            --uninstall) uninstall=yes ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) mistake "unknown option $1" ;;
        esac
        shift
    done
    [ -z "$demo" ] || [ -z "$uninstall" ] || mistake "--demo and --uninstall exclude each other"
}

take_value() {
    case $1 in
        --prefix) prefix=$2 ;;
        --registry)
            case $2 in
                *[!A-Za-z0-9.:-]*) mistake "--registry takes a host name without scheme or path, not $2" ;;
            esac
            registries="$registries $2"
            ;;
    esac
}

find_places() {
    here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
    system=$(uname -s)
    user=$(id -u)
    [ -n "${HOME:-}" ] || die "HOME is not set"
    if [ -z "$prefix" ]; then
        if [ "$user" = 0 ]; then prefix=/usr/local; else prefix=$HOME/.local; fi
    fi
    case $prefix in
        /*) ;;
        *) prefix=$PWD/$prefix ;;
    esac
    case $prefix in
        *'
'*) die "the prefix contains a line break" ;;
    esac
    prefix=${prefix%/}
    bin=$prefix/bin
    changed=
    find_unit
}

# Which service manager is responsible, and where its file goes.
find_unit() {
    case $system:$user in
        Darwin:0) manager=none ;;
        Darwin:*)
            manager=launchd
            template=$here/packaging/launchd/longshore.plist
            unit=$HOME/Library/LaunchAgents/longshore.plist
            ;;
        Linux:0)
            manager=system
            template=$here/packaging/systemd/longshore.service
            unit=$prefix/lib/systemd/system/longshore.service
            ;;
        Linux:*)
            manager=user
            template=$here/packaging/systemd/user/longshore.service
            unit=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user/longshore.service
            ;;
        *) manager=none ;;
    esac
}

# --- the programs

find_programs() {
    if [ -x "$here/bin/longshore" ] && [ -x "$here/bin/docker-credential-longshore" ]; then
        programs=$here/bin
        fake=$here/bin/fake-ecr
        return
    fi
    check_toolchain
    target=${CARGO_TARGET_DIR:-target}
    case $target in
        /*) ;;
        *) target=$here/$target ;;
    esac
    programs=$target/release
    fake=$target/release/examples/fake-ecr
    say building "$programs (the first time takes some minutes)"
    set -- build --release --locked --target-dir "$target" --bins
    [ -z "$demo" ] || set -- "$@" --example fake-ecr
    (cd "$here" && cargo "$@") || die "the build failed"
    [ "$system" != Linux ] || link_helper || (cd "$here" && cargo "$@") || die "the build failed"
}

# Without shared libraries the credential helper starts in three quarters of the time and of the memory. Where there is
# no static C library, it is built again as it was.
link_helper() {
    (cd "$here" && cargo rustc --release --locked --target-dir "$target" --bin docker-credential-longshore -- \
        -C target-feature=+crt-static) && return
    say "note" "the credential helper is linked with shared libraries"
    return 1
}

check_toolchain() {
    [ -f "$here/Cargo.toml" ] ||
        die "beside install.sh lie neither bin/longshore nor Cargo.toml: run it in an unpacked release or in a clone"
    wanted=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$here/Cargo.toml")
    get_rust="https://www.rust-lang.org/tools/install"
    command -v cargo >/dev/null ||
        die "cargo is missing: install Rust $wanted or newer ($get_rust), open a new shell and run this again"
    found=$(cd "$here" && cargo --version) || die "cargo does not run: $get_rust"
    found=$(printf '%s\n' "$found" | sed 's/^cargo \([0-9.]*\).*/\1/')
    is_at_least "$found" "$wanted" ||
        die "Rust $found is too old, $wanted is needed: run 'rustup update stable', or see $get_rust"
    command -v "${CC:-cc}" >/dev/null ||
        die "a C compiler is missing (${CC:-cc}): on Debian 'apt-get install gcc libc6-dev', on macOS 'xcode-select --install'"
}

# is_at_least HAVE WANT: versions of two or three numbers.
is_at_least() {
    printf '%s %s\n' "$1" "$2" | awk '{
        split($1, have, "."); split($2, want, ".")
        for (i = 1; i <= 3; i++) if (have[i] + 0 != want[i] + 0) exit !(have[i] + 0 > want[i] + 0)
    }'
}

# place SOURCE TARGET MODE: the target is the old file or the new one, never half of it.
place() {
    if cmp -s "$1" "$2"; then
        chmod "$3" "$2"
        say unchanged "$2"
        return
    fi
    mkdir -p "$(dirname -- "$2")" || die "cannot write to $prefix: choose another --prefix, or run as root"
    unfinished=$(mktemp "$2.XXXXXX") || die "cannot write to $(dirname -- "$2"): choose another --prefix, or run as root"
    cp -- "$1" "$unfinished"
    chmod "$3" "$unfinished"
    mv -f -- "$unfinished" "$2"
    unfinished=
    changed=yes
    say installed "$2"
}

# --- the service

# What sed needs to put a folder's name into the unit: quoted for the unit's syntax, then for sed.
quoted() {
    case $manager in
        launchd) printf '%s\n' "$1" | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g' ;;
        *) printf '%s\n' "$1" | sed 's/%/%%/g; s/["\\]/\\&/g' ;;
    esac | sed 's/[\\&|]/\\&/g'
}

install_service() {
    if [ "$manager" = none ]; then
        say "no service" "there is none for this system; start it by hand: $bin/longshore serve"
        return
    fi
    filled=$scratch/unit
    sed "s|@BINDIR@|$(quoted "$bin")|g; s|@HOME@|$(quoted "$HOME")|g" "$template" >"$filled"
    place "$filled" "$unit" 644
    case $manager in
        launchd) start_launchd ;;
        *) start_systemd ;;
    esac
}

# The service manager that is responsible for $unit.
control() {
    if [ "$manager" = user ]; then systemctl --user "$@"; else systemctl "$@"; fi
}

systemd_runs() {
    command -v systemctl >/dev/null && control list-units >/dev/null 2>&1
}

# systemd reads the system's units only from some folders.
is_system_prefix() {
    [ "$manager" = user ] || [ "$prefix" = /usr/local ] || [ "$prefix" = /usr ]
}

start_systemd() {
    if ! systemd_runs; then
        say "not started" "no service manager is running; start it by hand: $bin/longshore serve"
    elif ! is_system_prefix; then
        say "not started" "$prefix is not searched by systemd; start it with: systemctl enable --now $unit"
    else
        control daemon-reload
        control enable --quiet longshore.service
        if [ -n "$changed" ]; then verb=restart; else verb=start; fi
        control "$verb" longshore.service || die "the service did not start: $(log_command)"
        say started "longshore.service; its log: $(log_command)"
    fi
}

log_command() {
    if [ "$manager" = user ]; then echo "journalctl --user -u longshore"; else echo "journalctl -u longshore"; fi
}

# The running service may be another installation's.
is_our_service() {
    fragment=$(control show --property FragmentPath --value longshore.service 2>/dev/null) || return 1
    [ -n "$fragment" ] && cmp -s "$fragment" "$unit"
}

start_launchd() {
    domain=gui/$user
    if ! launchctl print "$domain" >/dev/null 2>&1; then
        say "not started" "launchd has no session here; start it by hand: $bin/longshore serve"
        return
    fi
    if launchd_knows; then
        [ -n "$changed" ] || return 0
        stop_launchd
    fi
    launchctl bootstrap "$domain" "$unit" || die "the service did not start: see $HOME/Library/Logs/longshore.log"
    say started "longshore; its log: $HOME/Library/Logs/longshore.log"
}

launchd_knows() {
    launchctl print "gui/$user/longshore" >/dev/null 2>&1
}

launchd_forgot() {
    ! launchd_knows
}

stop_launchd() {
    launchd_knows || return 0
    launchctl bootout "gui/$user/longshore" || :
    until_true 450 launchd_forgot || die "launchd does not let go of longshore"
    say stopped longshore
}

remove_service() {
    case $manager in
        launchd) if command -v launchctl >/dev/null; then stop_launchd; fi ;;
        user | system)
            if systemd_runs && is_our_service; then
                control disable --now --quiet longshore.service
                say stopped longshore.service
            fi
            ;;
    esac
    drop "$unit"
    # A manager that does not run leaves its link behind.
    case $manager in
        user) wants=$(dirname -- "$unit")/default.target.wants/longshore.service ;;
        *) wants=/etc/systemd/system/multi-user.target.wants/longshore.service ;;
    esac
    [ "$manager" = launchd ] || [ -e "$wants" ] || drop "$wants"
    case $manager in
        user | system) if systemd_runs; then control daemon-reload; fi ;;
    esac
}

# --- Docker

wire_docker() {
    # shellcheck disable=SC2086 # host names, checked when they were read
    set -- $registries
    for registry; do
        set -- "$@" --registry "$registry"
        shift
    done
    "$bin/longshore" setup docker "$@" || die "the Docker configuration was left as it is (--no-docker passes over it)"
}

# Docker fails when its configuration names a helper that it does not find: off PATH nothing is wired.
offer_helper() {
    wiring="longshore setup docker"
    for registry in $registries; do
        wiring="$wiring --registry $registry"
    done
    case :$PATH: in
        *:"$bin":*) wire_docker ;;
        *)
            say "attention" "$bin is not on PATH, where Docker looks for the credential helper; add it"
            say "not wired" "then make Docker ask the helper: $wiring"
            ;;
    esac
}

unwire_docker() {
    [ -x "$bin/longshore" ] || return 0
    "$bin/longshore" setup docker --undo ||
        die "the Docker configuration still names Longshore, so nothing was removed (--no-docker passes over it)"
}

# --- away again

drop() {
    if [ -e "$1" ] || [ -L "$1" ]; then
        rm -f -- "$1"
        say removed "$1"
    fi
}

uninstall_all() {
    [ "$docker" = no ] || unwire_docker
    [ "$service" = no ] || [ "$manager" = none ] || remove_service
    drop "$bin/longshore"
    drop "$bin/docker-credential-longshore"
    if [ "$system" = Darwin ]; then
        set -- "$HOME/Library/Caches/longshore"
    else
        set -- "${XDG_CACHE_HOME:-$HOME/.cache}/longshore"
    fi
    [ "$manager" != system ] || set -- "$@" /var/cache/private/longshore /var/lib/private/longshore
    for cache; do
        [ ! -d "$cache" ] || say left "the cache in $cache; delete it with: rm -rf '$cache'"
    done
}

# --- the demo: the installed programs between a fake ECR and a client made of curl

ecr=123456789012.dkr.ecr.us-east-1.amazonaws.com
s3=prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com
manifest_types="application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

# Before anything is built: what is missing is said in the first second.
check_tools() {
    command -v curl >/dev/null || die "--demo needs curl"
    command -v sha256sum >/dev/null || command -v shasum >/dev/null || die "--demo needs sha256sum or shasum"
}

check_fake() {
    [ -x "$fake" ] || die "--demo needs the fake ECR, which this release does not contain: run it in a clone"
}

run_demo() {
    start_fake
    start_daemon
    printf '\ndemo: %s/demo:latest, through http://127.0.0.1:%s, from a fake ECR on this machine\n\n' "$ecr" "$port"
    printf '%-6s %10s %22s %30s\n' pull time "bytes from upstream" "requests upstream"
    measure cold
    [ "$to_s3" -gt 0 ] || give_up "the cold pull asked the fake ECR for no blob"
    [ "$bytes" -gt 0 ] || give_up "the cold pull cost no bytes from upstream"
    measure warm
    [ "$to_s3" -eq 0 ] || give_up "the warm pull asked for blobs upstream"
    [ "$bytes" -eq 0 ] || give_up "the warm pull cost bytes from upstream"
    [ "$to_registry $heads" = "1 1" ] || give_up "the warm pull cost something else than one HEAD of the tag"
    printf '\nThe second pull asked upstream once whether the tag has moved, and for nothing else.\n'
}

give_up() {
    printf '\ninstall.sh: the demo failed: %s; what the programs said:\n' "$1" >&2
    for log in "$scratch/fake.log" "$scratch/daemon.log"; do
        [ ! -s "$log" ] || sed "s|^|$(basename "$log" .log): |" "$log" >&2
    done
    exit 1
}

start_fake() {
    "$fake" --image "$ecr/demo:latest,layers=4,layer-size=8388608,platforms=linux/amd64+linux/arm64" \
        --s3-rate 16777216 --latency-ms 20 --ca-file "$scratch/ca.pem" \
        >"$scratch/fake.json" 2>"$scratch/fake.log" </dev/null &
    fake_pid=$!
    until_true 300 fake_is_ready || give_up "the fake ECR does not start"
    registry_address=$(field registry)
    s3_address=$(field s3)
    api=$(field api)
    control=$(field control)
    authority=$(field ca_file)
}

fake_is_ready() {
    is_running "$fake_pid" || give_up "the fake ECR ended"
    grep -q '"control".*}' "$scratch/fake.json"
}

# field NAME: of the line that the fake ECR prints.
field() {
    sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p' "$scratch/fake.json"
}

start_daemon() {
    cat >"$scratch/config.toml" <<TEXT
listen = "127.0.0.1:0"
[cache]
dir = "$scratch/cache"
[upstream]
ca_file = "$authority"
[upstream.connect_to]
"*.dkr.ecr.us-east-1.amazonaws.com:443" = "$registry_address"
"$s3:443" = "$s3_address"
TEXT
    # Nothing of the person's own environment: neither AWS credentials nor a proxy.
    env -i PATH="$PATH" HOME="$scratch" XDG_CONFIG_HOME="$scratch" XDG_CACHE_HOME="$scratch" \
        LONGSHORE_CONFIG="$scratch/config.toml" NO_COLOR=1 \
        AWS_ACCESS_KEY_ID=AKIDEXAMPLE AWS_SECRET_ACCESS_KEY=example AWS_REGION=us-east-1 \
        AWS_ENDPOINT_URL_ECR="$api" AWS_EC2_METADATA_DISABLED=true \
        "$bin/longshore" serve 2>"$scratch/daemon.log" >"$scratch/daemon.out" </dev/null &
    daemon_pid=$!
    until_true 300 daemon_is_ready || give_up "the daemon does not start"
}

daemon_is_ready() {
    is_running "$daemon_pid" || give_up "the daemon ended"
    port=$(sed -n 's|.*listening on http://127\.0\.0\.1:\([0-9][0-9]*\).*|\1|p' "$scratch/daemon.log" | head -n 1)
    [ -n "$port" ]
}

is_running() {
    kill -0 "$1" 2>/dev/null
}

fetch() {
    curl -q -sS --fail --noproxy '*' --max-time 120 "$@"
}

# measure NAME: one pull, what it took and what it cost upstream.
measure() {
    fetch -X DELETE -o /dev/null "$control/requests" || give_up "the fake ECR does not answer"
    rm -rf "$scratch/image"
    mkdir "$scratch/image"
    begin=$(milliseconds)
    pull
    end=$(milliseconds)
    fetch -o "$scratch/requests.json" "$control/requests" || give_up "the fake ECR does not answer"
    count_requests
    awk -v name="$1" -v time=$((end - begin)) -v bytes="$bytes" -v registry="$to_registry" -v s3="$to_s3" 'BEGIN {
        printf "%-6s %8.2f s %22d %30s\n", name, time / 1000, bytes,
            sprintf("%d (registry %d, S3 %d)", registry + s3, registry, s3)
    }'
}

milliseconds() {
    now=$(date +%s%N)
    case $now in
        *[!0-9]* | ?????????? | ???????????) echo "$(date +%s)000" ;;
        *) echo "${now%??????}" ;;
    esac
}

# Counts what reached the fake ECR: requests by listener, and the bytes of the answers' bodies.
count_requests() {
    counts=$(tr -d ' \t\r\n' <"$scratch/requests.json" | awk '{ gsub(/\},\{/, "}\n{"); print }' | awk '
        /"listener":"registry"/ { registry++ }
        /"listener":"registry"/ && /"method":"HEAD"/ { heads++ }
        /"listener":"s3"/ { s3++ }
        /"listener":"(registry|s3)"/ {
            if (!match($0, /"bytes_sent":[0-9]+/)) exit 1
            bytes += substr($0, RSTART + 13, RLENGTH - 13)
        }
        END { printf "%d %d %d %.0f\n", registry, heads, s3, bytes }') ||
        give_up "the request log of the fake ECR was not understood"
    # shellcheck disable=SC2086 # four numbers
    set -- $counts
    to_registry=$1 heads=$2 to_s3=$3 bytes=$4
}

# What a client does: the tag's digest, the index, the manifest of this machine, its configuration and layers.
pull() {
    repository=http://127.0.0.1:$port/v2/$ecr/demo
    top=$(fetch --head -H "Accept: $manifest_types" "$repository/manifests/latest" | tr -d '\r' |
        awk 'tolower($1) == "docker-content-digest:" { print $2 }')
    [ -n "$top" ] || give_up "HEAD of the tag gave no digest"
    take manifests "$top"
    case $(uname -m) in
        aarch64 | arm64) architecture=arm64 ;;
        *) architecture=amd64 ;;
    esac
    manifest=$(tr -d ' \t\r\n' <"$scratch/image/$top" | awk '{ gsub(/\},\{/, "}\n{"); print }' |
        grep "\"architecture\":\"$architecture\"" | digests)
    [ -n "$manifest" ] || give_up "the index has no manifest for $architecture"
    take manifests "$manifest"
    for blob in $(digests <"$scratch/image/$manifest"); do
        take blobs "$blob"
    done
}

# take KIND DIGEST: fetches into the image's folder, and checks what came.
take() {
    fetch -H "Accept: $manifest_types" -o "$scratch/image/$2" "$repository/$1/$2" || give_up "no $1/$2"
    if command -v sha256sum >/dev/null; then
        got=$(sha256sum <"$scratch/image/$2")
    else
        got=$(shasum -a 256 <"$scratch/image/$2")
    fi
    [ "sha256:${got%% *}" = "$2" ] || give_up "$2 arrived with the digest ${got%% *}"
}

# The digests that a JSON text names, one a line.
digests() {
    tr -d ' \t\r\n' | tr ',' '\n' | sed -n 's/.*"digest":"\(sha256:[0-9a-f]*\)".*/\1/p'
}

# end PID: asks, waits a while, insists.
end() {
    [ -n "$1" ] || return 0
    kill "$1" 2>/dev/null || :
    until_true 100 has_ended "$1" || kill -KILL "$1" 2>/dev/null || :
    wait "$1" 2>/dev/null || :
}

has_ended() {
    ! is_running "$1"
}

# --- all of it

fake_pid=
daemon_pid=
unfinished=
scratch=

# shellcheck disable=SC2317 # called by the trap
leave() {
    end "$daemon_pid"
    end "$fake_pid"
    [ -z "$unfinished" ] || rm -f -- "$unfinished"
    [ -z "$scratch" ] || rm -rf -- "$scratch"
}

main() {
    umask 022
    read_options "$@"
    find_places
    if [ -n "$uninstall" ]; then
        uninstall_all
        return
    fi
    trap leave EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/longshore.XXXXXX")
    [ -z "$demo" ] || check_tools
    find_programs
    [ -z "$demo" ] || check_fake
    place "$programs/longshore" "$bin/longshore" 755
    place "$programs/docker-credential-longshore" "$bin/docker-credential-longshore" 755
    [ "$service" = no ] || install_service
    [ "$docker" = no ] || offer_helper
    [ -z "$demo" ] || run_demo
}

main "$@"
