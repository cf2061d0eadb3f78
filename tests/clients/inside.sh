# shellcheck shell=bash
# The first process in the namespaces that run.sh made: builds the world, asks every client, counts.
# Never runs outside them: it mounts over /etc/hosts and /run.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $$ = 1 ] || { echo "inside.sh: start run.sh instead" >&2 && exit 1; }
for part in lib world facts $CLIENTS; do
    # shellcheck disable=SC1090 # the files beside this one
    . "$here/$part.sh"
done

make_world
for client in $CLIENTS; do
    "${client}_start" || die "$client does not start"
    check_pulls "$client"
    check_public "$client"
    check_second_upstream "$client"
    "${client}_more"
done
check_crowd
check_outage

summary
