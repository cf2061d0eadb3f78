# shellcheck shell=bash
# The helper under its other names, each in credHelpers: with a profile in the name, and as Amazon's own helper, whose
# cache it takes over.

check_helper_names() {
    export DOCKER=docker
    check_profile_name
    check_former_name
}

# named NAME: docker pulls from ECR with docker-credential-NAME in credHelpers.
named() {
    jq -n --arg host "$ECR" --arg name "$1" '{credHelpers: {($host): $name}}' >"$STATE/credentials/by-host/config.json"
    docker_forget
    done_by docker_at by-host pull "$ECR/credentials/app:1"
}

# The keys of the profile, not those of the environment, sign.
check_profile_name() {
    local -x AWS_SHARED_CREDENTIALS_FILE=$STATE/credentials/profiles
    printf '[team]\naws_access_key_id = AKIDTEAM\naws_secret_access_key = secret\n' >"$AWS_SHARED_CREDENTIALS_FILE"
    begin
    same longshore-team "docker pulls with the profile in the helper's name" "done" "$(named longshore-team)"
    same longshore-team "the profile's key signs" AKIDTEAM "$(signers)"
    same longshore-team "the helper runs once" "longshore-team get $ECR 1" "$(all_runs)"
}

# Debian's own program mints and keeps; ours, under its name, has that token and asks nobody.
check_former_name() {
    local theirs ours
    local -x AWS_ECR_CACHE_DIR=$STATE/credentials/former
    begin
    theirs=$(former_helper | jq -r .Secret)
    same ecr-login "Amazon's helper mints at the fake ECR" 1 "$(tokens)"
    same ecr-login "Amazon's helper leaves a cache" cache.json "$(cd "$AWS_ECR_CACHE_DIR" && ls cache.json)"
    forget_costs
    ours=$(docker-credential-ecr-login get <<<"$ECR" | jq -r .Secret)
    same ecr-login "ours under its name has the same token" "$theirs" "$ours"
    same ecr-login "docker pulls with ours under its name" "done" "$(named ecr-login)"
    same ecr-login "and nothing is minted" 0 "$(tokens)"
    rm -rf "$AWS_ECR_CACHE_DIR"
    begin
    same ecr-login "docker pulls with ours under its name, with nothing to take over" "done" "$(named ecr-login)"
    same ecr-login "and one token is minted" 1 "$(tokens)"
}

# Debian's version knows no other endpoint than Amazon's, so it has to be led there by a proxy.
former_helper() {
    local proxy
    local -x PATH=${PATH#"$STATE/credentials/bin:"}
    proxy=$(grep -m 1 '"control"' "$STATE/log/fake-ecr" | jq -r .proxy)
    echo "$ECR" | limited env -u AWS_ENDPOINT_URL_ECR HTTPS_PROXY="$proxy" AWS_CA_BUNDLE="$STATE/ca.pem" \
        docker-credential-ecr-login get
}

# signers: the access keys that tokens were minted with.
signers() {
    curl -sS --fail "$CONTROL/calls" |
        jq -r '[.[] | select(.action == "GetAuthorizationToken") | .access_key] | unique | join(", ")'
}
