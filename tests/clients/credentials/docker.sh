# shellcheck shell=bash
# The docker command line with the helper in both positions: login, pull, push, logout, and what a failure says.

check_docker_credentials() {
    local name position
    name="docker $(docker_version)"
    check_docker_second "$name for-all"
    for position in by-host for-all; do
        check_docker_ecr "$name $position" "$position"
        check_docker_failure "$name $position" "$position"
    done
    check_docker_build "$name"
    docker_forget
}

# Versions before 28 do some things worse, whatever the helper does.
is_new_docker() { [ "$(docker_version | cut -d . -f 1)" -ge 28 ]; }

docker_version() { "$DOCKER" version --format '{{.Client.Version}}'; }

# docker_at POSITION ARGUMENT...: the program in $DOCKER, configured so.
docker_at() {
    local position=$1
    shift
    limited "$DOCKER" --config "$STATE/credentials/$position" "$@"
}

# A registry that is not ECR: all of it ends at the keychain.
check_docker_second() {
    local name=$1 image=$SECOND/team/credentials secret said config=$STATE/credentials/for-all/config.json
    secret=$(cat "$STATE/second/password")
    begin
    docker_forget
    same "$name" "login to a registry that is not ECR" "Login Succeeded" \
        "$(told docker_at for-all login -u puller --password-stdin "$SECOND" <"$STATE/second/password")"
    same "$name" "login hands the password to the fallback" "$secret" "$(jq -r .Secret "$KEYCHAIN/$SECOND")"
    same "$name" "login leaves no password in config.json" "{\"auths\":{\"$SECOND\":{}},\"credsStore\":\"longshore\"}" \
        "$(jq -cS . "$config")"
    forget_costs
    same "$name" "pull from a registry that is not ECR" "done" "$(done_by docker_at for-all pull "$image:1")"
    same "$name" "pull runs the helper once, and that the fallback" \
        "keychain get $SECOND 1, longshore get $SECOND 1" "$(all_runs)"
    "$DOCKER" tag "$image:1" "$image:pushed"
    same "$name" "push to a registry that is not ECR" "done" "$(done_by docker_at for-all push "$image:pushed")"
    same "$name" "logout" "Removing login credentials for $SECOND" "$(told docker_at for-all logout "$SECOND")"
    same "$name" "logout erases in the fallback" "nothing" "$(kept)"
    docker_forget
    same "$name" "pull after logout" "no basic auth credentials" \
        "$(told docker_at for-all pull "$image:1" | grep -o 'no basic auth credentials$')"
    same "$name" "nothing of it mints a token" 0 "$(tokens)"
    same "$name" "pull through the daemon needs no login" "done" \
        "$(done_by docker_at for-all pull "$DAEMON/$ECR/credentials/app:1")"

    begin
    : >"$LONGSHORE_CONFIG"
    said=$(told docker_at for-all login -u puller --password-stdin "$SECOND" <"$STATE/second/password")
    same "$name" "login to a registry that is not ECR says what to do when there is no fallback" \
        "Longshore keeps credentials for Amazon ECR only; name the helper" \
        "$(grep -o 'Longshore keeps.*name the helper' <<<"$said")"
    same "$name" "and fails" "exit code 1" "$(tail -n 1 <<<"$said")"
}

# ECR itself, by its own name: the daemon has no part in it.
check_docker_ecr() {
    local name=$1 position=$2 image=$ECR/credentials/app pushed=credentials/docker-$2 direct digest
    direct=$(digest_of credentials/app)
    begin
    docker_forget
    same "$name" "login to ECR" "Login Succeeded" \
        "$(told docker_at "$position" login -u AWS --password-stdin "$ECR" <<<"$TOKEN")"
    same "$name" "login to ECR leaves no token in config.json" '{}' "$(jq -c --arg host "$ECR" '.auths[$host]' \
        "$STATE/credentials/$position/config.json")"
    same "$name" "login to ECR with what the helper has" "Login Succeeded" \
        "$(told docker_at "$position" login "$ECR" | sed 's/.*|//')"
    begin
    same "$name" "pull from ECR" "done" "$(done_by docker_at "$position" pull "$image:1")"
    same "$name" "pull from ECR brings what ECR has" "$direct" \
        "$("$DOCKER" image inspect -f '{{index .RepoDigests 0}}' "$image:1" | sed 's/.*@//')"
    "$DOCKER" tag "$image:1" "$ECR/$pushed:1"
    digest=$(told docker_at "$position" push "$ECR/$pushed:1" | grep -o 'sha256:[0-9a-f]*' | tail -n 1)
    same "$name" "push to ECR, and ECR has what was pushed" "$digest" "$(digest_of "$pushed")"
    same "$name" "pull and push run the helper once each" "longshore get $ECR 2" "$(all_runs)"
    same "$name" "pull and push mint one token" 1 "$(tokens)"
    same "$name" "logout of ECR" "Removing login credentials for $ECR" "$(told docker_at "$position" logout "$ECR")"
    docker_forget
    same "$name" "pull after logout of ECR" "done" "$(done_by docker_at "$position" pull "$ECR/$pushed@$digest")"
    same "$name" "pull after logout mints anew" 2 "$(tokens)"
}

# docker passes on what the helper says to stderr; from its answer it takes the cause only where it creates a container.
check_docker_failure() {
    local name=$1 position=$2 image=$ECR/credentials/app:1 cause="ECR in us-east-1: no AWS credentials were found" said
    local remedy="configure AWS credentials: \`aws configure\`, \`aws sso login\`, AWS_PROFILE or AWS_ACCESS_KEY_ID"
    begin
    docker_forget
    said=$(told without_aws docker_at "$position" pull "$image")
    same "$name" "pull without AWS credentials shows cause and remedy" "longshore: $cause|longshore: $remedy" \
        "$(cut -d '|' -f 1-2 <<<"$said" | head -n 1)"
    same "$name" "pull without AWS credentials fails" "exit code 1" "$(tail -n 1 <<<"$said")"
    begin
    said=$(told without_aws docker_at "$position" create "$image")
    same "$name" "create without AWS credentials fails" "exit code 1" "$(tail -n 1 <<<"$said")"
    if is_new_docker; then
        same "$name" "create without AWS credentials ends with the cause" \
            "error getting credentials - err: exit status 1, out: \`$cause\`" "$(head -n 1 <<<"$said" | sed 's/.*|//')"
    fi
    same "$name" "neither asks ECR" 0 "$(tokens)"
}
