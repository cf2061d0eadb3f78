# shellcheck shell=bash
# Clients that ask docker-credential-longshore themselves: docker, podman, skopeo, buildah, without the daemon in between.
# Counts what a client's command costs: runs of the helper, and tokens minted at the fake ECR.
# Position by-host is credHelpers, position for-all is docker's credsStore or the credential-helpers of
# registries.conf, where everything that is not ECR goes on to the fallback, a keychain of our own.

credentials_parts=$(cd "$(dirname "${BASH_SOURCE[0]}")/credentials" && pwd)
for part in docker build containers names; do
    # shellcheck disable=SC1090 # the files in that folder
    . "$credentials_parts/$part.sh"
done

# An account of its own, which no name leads to: its credentials are asked for, never used.
# Read by the files in that folder.
export OTHER_ECR=210987654321.dkr.ecr.us-east-1.amazonaws.com
# The docker command line that is asked; the daemon is the same for all of them.
export DOCKER=docker

check_credentials() {
    [ -S "$STATE/docker.sock" ] || docker_start
    make_credentials
    while IFS= read -r DOCKER; do
        check_docker_credentials </dev/null
    done < <(docker_programs)
    check_containers_credentials
    check_helper_names
}

# Every docker command line of this machine, each version once: Debian's is often not the only one.
docker_programs() {
    local program version versions=
    for program in $(type -ap docker); do
        version=$("$program" version --format '{{.Client.Version}}')
        [[ " $versions " == *" $version "* ]] || echo "$program"
        versions+=" $version"
    done
}

# Exported: everything that is started from here on has it, and nothing that was started before.
make_credentials() {
    local work=$STATE/credentials name
    mkdir -p "$work"/{bin,real,keychain}
    cp "$credentials_parts/keychain.sh" "$work/bin/docker-credential-keychain"
    for name in longshore longshore-team ecr-login; do
        cp "$credentials_parts/counted.sh" "$work/bin/docker-credential-$name"
        ln -s "$BIN_DIR/docker-credential-longshore" "$work/real/docker-credential-$name"
    done
    export PATH=$work/bin:$PATH KEYCHAIN=$work/keychain COUNTED_REAL=$work/real COUNTED_RUNS=$work/runs
    export LONGSHORE_CONFIG=$work/longshore.toml XDG_CACHE_HOME=$work/cache
    knob '{"create_on_push": true}'
}

# Puts both positions back to what setting them up leaves; no token is at hand, nobody is logged in.
begin() {
    local work=$STATE/credentials
    rm -rf "$XDG_CACHE_HOME" "$work/by-host" "$work/for-all"
    mkdir -p "$work/by-host" "$work/for-all"
    rm -f "$KEYCHAIN"/*
    jq -n --arg host "$ECR" '{credHelpers: {($host): "longshore"}}' |
        tee "$work/by-host/config.json" >"$work/by-host/auth.json"
    echo '{"credsStore": "longshore"}' >"$work/for-all/config.json"
    echo '{}' >"$work/for-all/auth.json"
    printf '[fallback]\nhelper = "keychain"\n' >"$LONGSHORE_CONFIG"
    forget_costs
}

# told COMMAND...: what the command writes, all of it on one line, with its exit code when that is not 0.
told() {
    local code=0
    "$@" >"$STATE/log/told" 2>&1 || code=$?
    tr -d '\r' <"$STATE/log/told" | grep -av '^$' | paste -s -d '|'
    [ "$code" = 0 ] || echo "exit code $code"
}

# done_by COMMAND...: "done", or why it is not.
done_by() {
    if "$@" >"$STATE/log/done" 2>&1; then
        echo "done"
    else
        echo "failed ($(grep -av '^$' "$STATE/log/done" | tail -n 1))"
    fi
}

knob() { curl -sS --fail -o /dev/null -d "$1" "$CONTROL/knobs" || die "the fake ECR refuses $1"; }

forget_costs() {
    forget_requests
    : >"$COUNTED_RUNS"
}

# tokens: how many were minted since forget_costs.
tokens() { curl -sS --fail "$CONTROL/calls" | jq '[.[] | select(.action == "GetAuthorizationToken")] | length'; }

# runs WORDS: how many runs since forget_costs begin so, as in "longshore get".
runs() { grep -c "^$1" "$COUNTED_RUNS"; }

# all_runs: every run and how often, as in "longshore erase HOST 2, longshore get HOST 1".
all_runs() { sort "$COUNTED_RUNS" | uniq -c | awk '{ print $2, $3, $4, $1 }' | paste -s -d , | sed 's/,/, /g'; }

# at_most MOST: how often a get ran, as "at most MOST"; versions of a client differ in how often they ask.
at_most() {
    local number
    number=$(runs "longshore get")
    if [ "$number" -ge 1 ] && [ "$number" -le "$1" ]; then echo "at most $1"; else echo "$number"; fi
}

# kept: what the keychain keeps for the second registry.
kept() { if [ -e "$KEYCHAIN/$SECOND" ]; then echo "a password"; else echo "nothing"; fi; }

# without_aws COMMAND...: nothing in the environment or at home says who is asking.
without_aws() (
    unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    "$@"
)
