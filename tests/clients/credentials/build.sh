# shellcheck shell=bash
# docker's classic builder, which asks for every registry it knows before it begins. Never starts a container.

check_docker_build() {
    local name=$1 by_host=$STATE/credentials/by-host/config.json
    printf 'FROM %s/credentials/app:1\nCOPY Dockerfile /\nLABEL built=here\n' "$ECR" | make_context
    begin
    docker_forget
    jq -n --arg host "$ECR" --arg other "$OTHER_ECR" \
        '{credHelpers: {($host): "longshore", ($other): "longshore", "public.ecr.aws": "longshore"}}' >"$by_host"
    same "$name by-host" "build from an image of ECR, with three hosts" "done" "$(built by-host)"
    same "$name by-host" "build runs the helper once for each host" \
        "longshore get $ECR 1, longshore get $OTHER_ECR 1, longshore get public.ecr.aws 1" "$(all_runs)"
    same "$name by-host" "build mints one token for ECR and one for ECR Public" 2 "$(tokens)"
    same "$name by-host" "build warns of nothing" 0 "$(grep -c 'longshore:\|level=' "$STATE/log/built")"

    # An old docker gives up every host when one fails.
    ! is_new_docker || check_docker_build_beside_failure "$name" "$by_host"

    # With credsStore docker asks for what the helper lists: what it has a token for, and where somebody logged in.
    begin
    docker_forget
    told docker_at for-all login -u AWS --password-stdin "$ECR" <<<"$TOKEN" >/dev/null
    same "$name for-all" "build from an image of ECR, right after a login" "done" "$(built for-all)"
    same "$name for-all" "build lists, and asks for what is listed" \
        "keychain list unused 1, longshore get https://$ECR 1, longshore list unused 1, longshore store $ECR 1" "$(all_runs)"
    same "$name for-all" "build mints one token" 1 "$(tokens)"
}

# One of the hosts has no credentials; the image is another's.
check_docker_build_beside_failure() {
    local name=$1 by_host=$2
    begin
    jq -n --arg host "$ECR" --arg other "$OTHER_ECR" \
        '{credHelpers: {($host): "longshore", ($other): "longshore"}}' >"$by_host"
    printf '\n[[registry]]\nmatch = "210987654321"\nprofile = "none-such"\n' >>"$LONGSHORE_CONFIG"
    same "$name by-host" "build goes on when another host has no credentials" "done" "$(built by-host)"
    same "$name by-host" "build names the host that has none" "Failed to get credentials for registry: $OTHER_ECR" \
        "$(grep -o 'Failed to get credentials for registry: [^"]*' "$STATE/log/built")"
    same "$name by-host" "build shows why" \
        'longshore: ECR in us-east-1: profile "none-such" is not in the AWS configuration' \
        "$(grep '^longshore: ECR' "$STATE/log/built")"
}

make_context() {
    mkdir -p "$STATE/credentials/context"
    cat >"$STATE/credentials/context/Dockerfile"
}

# built POSITION: builds without cache, takes the image away again and leaves the log in log/built; "done", or why not.
built() {
    local position=$1 answer
    # dockerd's bridge is off, which it says for every container that a build makes and never starts.
    answer=$(DOCKER_BUILDKIT=0 done_by docker_at "$position" build --no-cache --pull -t built:1 "$STATE/credentials/context")
    cp "$STATE/log/done" "$STATE/log/built"
    "$DOCKER" image rm --force built:1 >/dev/null 2>&1
    echo "$answer"
}
