# shellcheck shell=bash
# The first process in the namespaces that run.sh made: builds the world, asks every client, counts.
# Never runs outside them: it mounts over /etc/hosts and /run.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $$ = 1 ] || { echo "inside.sh: start run.sh instead" >&2 && exit 1; }
for part in lib world facts resets docker containerd podman buildah skopeo credentials; do
    # shellcheck disable=SC1090 # the files beside this one
    . "$here/$part.sh"
done

make_world
daemon_clients= # those that pull through the daemon
for client in $CLIENTS; do
    [ "$client" != credentials ] || continue
    daemon_clients+=" $client"
    "${client}_start" || die "$client does not start"
    check_pulls "$client"
    check_public "$client"
    check_second_upstream "$client"
    check_resets "$client"
    "${client}_more"
done
[[ " $CLIENTS " != *" credentials "* ]] || check_credentials
if [ -n "$daemon_clients" ]; then
    check_crowd
    check_ranges
    # shellcheck disable=SC2086 # one word per client
    check_outage $daemon_clients
fi

summary
