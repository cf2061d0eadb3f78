# shellcheck shell=bash
# Installs from Debian what run.sh needs and does not find, in the way the tests with real clients do it.
# Never starts a service, never upgrades a package.

# shellcheck disable=SC1091 # checked on its own
. "$(dirname "${BASH_SOURCE[0]}")/../clients/install.sh"

# These two take the place of those for the real clients.
package_of() {
    case $1 in
        docker-credential-ecr-login) echo amazon-ecr-credential-helper ;;
        ip) echo iproute2 ;;
        unshare) echo util-linux ;;
        /usr/sbin/nginx) echo nginx-light ;;
        /usr/bin/time) echo time ;;
        */ca-certificates.crt) echo ca-certificates ;;
        *) echo "$1" ;;
    esac
}

missing_programs() {
    local program
    # In bash, time is a word of the language too, so the program is asked for by its path.
    for program in docker-credential-ecr-login docker-registry skopeo curl jq ip unshare openssl python3 \
        /usr/bin/time /usr/sbin/nginx; do
        command -v "$program" >/dev/null || echo "$program"
    done
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo /etc/ssl/certs/ca-certificates.crt
}
