# shellcheck shell=bash
# Installs from Debian what run.sh needs and does not find. Never starts a service, never upgrades a package.

# The package that brings a program.
package_of() {
    case $1 in
        # From Debian 13 on the client is a package of its own.
        docker) if apt-cache show docker-cli >/dev/null 2>&1; then echo docker-cli; else echo docker.io; fi ;;
        dockerd) echo docker.io ;;
        ctr) echo containerd ;;
        docker-credential-ecr-login) echo amazon-ecr-credential-helper ;;
        htpasswd) echo apache2-utils ;;
        ip) echo iproute2 ;;
        unshare) echo util-linux ;;
        *) echo "$1" ;;
    esac
}

missing_programs() {
    local program
    for program in docker dockerd containerd ctr runc podman buildah skopeo docker-registry \
        docker-credential-ecr-login htpasswd jq curl ip unshare; do
        command -v "$program" >/dev/null || echo "$program"
    done
}

# apt-get with a policy that forbids starting services; what was there before is put back.
apt_without_services() (
    policy=/usr/sbin/policy-rc.d
    saved=$(mktemp -d) || exit 1
    [ ! -e "$policy" ] || cp -p "$policy" "$saved/policy" || exit 1
    # shellcheck disable=SC2317 # called by the trap
    put_back() {
        if [ -e "$saved/policy" ]; then cp -p "$saved/policy" "$policy"; else rm -f "$policy"; fi
        rm -rf "$saved"
    }
    trap put_back EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" || exit 1
    # Another installation may be at work: wait for it.
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"
)

install_missing() {
    local programs packages program
    programs=$(missing_programs)
    [ -n "$programs" ] || return 0
    command -v apt-get >/dev/null || { echo "missing, and there is no apt-get: $programs" >&2 && return 1; }
    packages=$(for program in $programs; do package_of "$program"; done | sort -u)
    printf 'installing:\n%s\n' "$packages" >&2
    # The package lists of a new machine are empty or old: fetch them and try once more.
    # shellcheck disable=SC2086 # one word per package
    apt_without_services install -y --no-install-recommends $packages >&2 ||
        { apt-get update >&2 && apt_without_services install -y --no-install-recommends $packages >&2; }
    programs=$(missing_programs)
    [ -z "$programs" ] || { echo "still missing: $programs" >&2 && return 1; }
}
