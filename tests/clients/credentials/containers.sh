# shellcheck shell=bash
# podman, buildah and skopeo with the helper in both positions. They ignore docker's credsStore, in whatever file it
# stands; what they have for all registries is credential-helpers in registries.conf. There it is the only one, so
# their own auth.json is not even read.

check_containers_credentials() {
    local client position
    cp /etc/containers/registries.conf "$STATE/credentials/registries.conf"
    for client in podman buildah skopeo; do
        check_containers_second "$client"
        for position in by-host for-all; do
            check_containers_ecr "$client" "$position"
            check_containers_failure "$client" "$position"
        done
        "${client}_forget"
    done
    cp "$STATE/credentials/registries.conf" /etc/containers/registries.conf
}

# at POSITION COMMAND...: a client of these, configured so. In the one place all of them read.
at() {
    local -x REGISTRY_AUTH_FILE=$STATE/credentials/$1/auth.json
    {
        [ "$1" = by-host ] || echo 'credential-helpers = ["longshore"]'
        printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' "$SECOND"
    } >/etc/containers/registries.conf
    shift
    "$@"
}

# CLIENT_fetch IMAGE: as a person would; buildah's way is to begin a container with it, which never runs.
podman_fetch() { podman_here pull --quiet "$1"; }
buildah_fetch() { buildah_here from --pull-always --name fetched "$1" && buildah_here rm fetched; }
skopeo_fetch() { skopeo_pull "$1"; }

# CLIENT_send IMAGE NAME: pushes what fetch brought; ends with the file log/sent, which holds the digest.
podman_send() { podman_here push --digestfile "$STATE/log/sent" "$1" "docker://$2"; }
buildah_send() { buildah_here push --digestfile "$STATE/log/sent" "$1" "docker://$2"; }
skopeo_send() { skopeo_here copy --digestfile "$STATE/log/sent" "dir:$STATE/skopeo" "docker://$2"; }

skopeo_here() { limited skopeo "$@"; }

# A registry that is not ECR: all of it ends at the keychain.
check_containers_second() {
    local client=$1 name="$1 for-all" image=$SECOND/team/credentials here=${1}_here secret
    secret=$(cat "$STATE/second/password")
    begin
    "${client}_forget"
    same "$name" "login to a registry that is not ECR" "Login Succeeded!" \
        "$(told at for-all "$here" login -u puller --password-stdin "$SECOND" <"$STATE/second/password")"
    same "$name" "login hands the password to the fallback" "$secret" "$(jq -r .Secret "$KEYCHAIN/$SECOND")"
    same "$name" "login leaves no password in auth.json" '{}' "$(cat "$STATE/credentials/for-all/auth.json")"
    same "$name" "pull from a registry that is not ECR" "done" "$(done_by at for-all "${client}_fetch" "$image:1")"
    same "$name" "push to a registry that is not ECR" "done" \
        "$(done_by at for-all "${client}_send" "$image:1" "$image:pushed")"
    same "$name" "logout" "Removed login credentials for $SECOND" "$(told at for-all "$here" logout "$SECOND")"
    same "$name" "logout erases in the fallback" "nothing" "$(kept)"
    "${client}_forget"
    same "$name" "pull after logout" "authentication required" \
        "$(told at for-all "${client}_fetch" "$image:1" | grep -o 'authentication required' | head -n 1)"
    same "$name" "every run of the helper is one of the fallback" \
        "$(grep '^longshore' "$COUNTED_RUNS" | cut -d ' ' -f 2-)" "$(grep '^keychain' "$COUNTED_RUNS" | cut -d ' ' -f 2-)"
    same "$name" "nothing of it mints a token" 0 "$(tokens)"
}

# ECR itself, by its own name: the daemon has no part in it.
check_containers_ecr() {
    local client=$1 position=$2 name="$1 $2" image=$ECR/credentials/app:1 here=${1}_here pushed=credentials/$1-$2
    local direct auth
    "${client}_forget"
    direct=$(identity "$client" direct "$image")
    "${client}_forget"
    begin
    auth=$(jq -cS . "$STATE/credentials/$position/auth.json")
    same "$name" "login to ECR" "Login Succeeded!" \
        "$(told at "$position" "$here" login -u AWS --password-stdin "$ECR" <<<"$TOKEN")"
    same "$name" "login to ECR leaves no token in auth.json" "$auth" "$(jq -cS . "$STATE/credentials/$position/auth.json")"
    : >"$COUNTED_RUNS"
    same "$name" "pull from ECR" "done" "$(done_by at "$position" "${client}_fetch" "$image")"
    same "$name" "pull from ECR runs the helper" "at most 2" "$(at_most 2)"
    same "$name" "pull from ECR brings what ECR has" "$direct" "$("${client}_identity" "$image")"
    : >"$COUNTED_RUNS"
    same "$name" "push to ECR" "done" "$(done_by at "$position" "${client}_send" "$image" "$ECR/$pushed:1")"
    same "$name" "push to ECR runs the helper" "at most 2" "$(at_most 2)"
    same "$name" "ECR has what was pushed" "$(cat "$STATE/log/sent")" "$(digest_of "$pushed")"
    [ "$client" != skopeo ] || same "$name" "inspect of ECR" "$(digest_of credentials/app)" \
        "$(told at "$position" skopeo_here inspect --format '{{.Digest}}' "docker://$image")"
    same "$name" "login, pull and push mint one token" 1 "$(tokens)"
    same "$name" "logout of ECR" "Removed login credentials for $ECR" "$(told at "$position" "$here" logout "$ECR")"
    "${client}_forget"
    same "$name" "pull after logout of ECR" "done" "$(done_by at "$position" "${client}_fetch" "$ECR/$pushed:1")"
    same "$name" "pull after logout mints anew" 2 "$(tokens)"
}

# These say what the helper answers, and what it tells the person.
check_containers_failure() {
    local client=$1 position=$2 name="$1 $2" cause="ECR in us-east-1: no AWS credentials were found" said
    begin
    "${client}_forget"
    said=$(told without_aws at "$position" "${client}_fetch" "$ECR/credentials/app:1")
    same "$name" "pull without AWS credentials shows the cause" "longshore: $cause" \
        "$(grep -o "longshore: $cause" <<<"$said" | head -n 1)"
    same "$name" "pull without AWS credentials ends with the cause" "out: \`$cause\`" \
        "$(grep -o "out: \`[^\`]*\`" <<<"$said" | tail -n 1)"
    same "$name" "pull without AWS credentials fails" "exit code" "$(tail -n 1 <<<"$said" | grep -o '^exit code')"
}
