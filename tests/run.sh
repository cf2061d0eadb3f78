#!/usr/bin/env bash
# Installs what the tests need, and runs every test: the Rust tests, the real clients, the installation,
# a soak of three minutes.
# Never skips: what is missing is installed or is an error. Never goes on behind a section that failed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-target}
cd "$root"

usage() {
    cat <<'TEXT'
usage: tests/run.sh [--packages]
  --packages  only install the Debian packages that the tests and the build need
Needs cargo. Becomes root by sudo, when it is not, to install packages and to start the real clients.
TEXT
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# The packages of what is missing, one a line.
missing_packages() {
    local program package
    while read -r program package; do
        command -v "$program" >/dev/null || echo "$package"
    done <<'TEXT'
cc gcc
curl curl
dash dash
git git
pgrep procps
python3 python3
shellcheck shellcheck
systemd-analyze systemd
xmllint libxml2-utils
TEXT
    [ -e /usr/include/stdio.h ] || echo libc6-dev
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

install_packages() {
    local packages left
    packages=$(missing_packages)
    if [ -z "$packages" ]; then
        echo "nothing is missing"
        return
    fi
    printf 'installing: %s\n' "${packages//$'\n'/ }"
    if ! command -v apt-get >/dev/null; then
        echo "there is no apt-get here; install these by hand"
        return 1
    fi
    # Another installation may be at work: wait for it.
    as_root apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 update -qq || return 1
    # shellcheck disable=SC2086 # one word per package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
        install -qq -y --no-install-recommends $packages || return 1
    left=$(missing_packages)
    if [ -n "$left" ]; then
        printf 'still missing: %s\n' "${left//$'\n'/ }"
        return 1
    fi
}

# section TITLE COMMAND...
section() {
    local title=$1
    shift
    printf '\n=== %s\n' "$title"
    if ! "$@"; then
        printf '\n=== FAILED: %s\n' "$title"
        exit 1
    fi
}

case ${1:-} in
    '') ;;
    --packages)
        section "packages" install_packages
        exit
        ;;
    -h | --help)
        usage
        exit
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac

section "packages" install_packages
section "Rust tests" cargo test --locked
section "programs for the tests with real clients" cargo build --locked --bins --example fake-ecr
section "real clients" as_root tests/clients/run.sh --bin-dir "$target/debug"
section "installation" tests/install.sh --bin-dir "$target/debug"
section "soak" tests/soak/run.sh --bin-dir "$target/debug"
printf '\n=== passed: every section\n'
