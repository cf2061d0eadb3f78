# shellcheck shell=bash
# What must be true for every client. A client is a file of functions: NAME_start; NAME_pull, NAME_direct (with
# a minted token), NAME_helper (with the credential helper); NAME_identity (what it has); NAME_forget (removes
# all images); NAME_more (what only this client can do). Never knows how a client is told to do it.

check_pulls() {
    local client=$1 app=$ECR/$1/app other=$ECR/$1/other direct direct_other
    direct=$(identity "$client" direct "$app:1")
    direct_other=$(identity "$client" direct "$other:1")
    pulled "$client" "pulls directly with a minted token" "$direct" || return
    pulled "$client" "pulls another image directly" "$direct_other" || return

    "${client}_forget"
    same "$client" "pulls directly with the credential helper" "$direct" "$(identity "$client" helper "$app:1")"

    "${client}_forget"
    forget_requests
    same "$client" "first pull through the daemon, by tag, is the direct image" \
        "$direct" "$(identity "$client" pull "$DAEMON/$app:1")"
    same "$client" "first pull fetches each blob from S3 once" "$((LAYERS + 1)) blobs, each once" "$(fetched_blobs)"
    same "$client" "first pull tells S3 neither a credential nor the image's name" "nothing" "$(told_s3)"

    "${client}_forget"
    same "$client" "first pull through the daemon, by digest, is the direct image" \
        "$direct_other" "$(identity "$client" pull "$DAEMON/$other@$(digest_of "$client/other")")"

    "${client}_forget"
    check_warm "$client" pull "second pull" "$direct" "$DAEMON/$app:1"
}

# pulled CLIENT FACT IDENTITY: there is something to compare with.
pulled() {
    case $3 in
        "" | "a failed pull"*) same "$1" "$2" "an image" "$3" ;;
        *) same "$1" "$2" "$3" "$3" ;;
    esac
}

# check_warm CLIENT VERB WAY IDENTITY REFERENCE: the daemon has it all and only asks whether the tag still stands.
check_warm() {
    local strange=no
    forget_requests
    same "$1" "$3 is the direct image" "$4" "$(identity "$1" "$2" "$5")"
    same "$1" "$3 costs one HEAD at the registry and no GET" "HEAD 1" "$(asked registry)" || strange=yes
    same "$1" "$3 costs no request at S3" "nothing" "$(asked s3)" || strange=yes
    [ $strange = no ] || show_requests
}

# ECR Public: a bearer token for anyone, blobs behind CloudFront, no HEAD on blobs.
check_public() {
    local client=$1 direct
    "${client}_forget"
    direct=$(identity "$client" pull "$PUBLIC/app:1")
    "${client}_forget"
    pulled "$client" "pulls directly from ECR Public" "$direct" || return
    same "$client" "pull from ECR Public through the daemon is the direct image" \
        "$direct" "$(identity "$client" pull "$DAEMON/$PUBLIC/app:1")"
}

check_second_upstream() {
    local client=$1 direct
    "${client}_forget"
    direct=$(identity "$client" direct "$ECR/$client/second:1")
    "${client}_forget"
    pulled "$client" "pulls directly what the second registry has" "$direct" || return
    same "$client" "pull from a second registry, with the daemon's password" \
        "$direct" "$(identity "$client" pull "$DAEMON/registry.test/team/$client:1")"
}

# Twenty first pulls of one image at once, each by a process of its own.
check_crowd() {
    local number pid pids=() good=0
    mkdir -p "$STATE/crowd"
    forget_requests
    for number in {1..20}; do
        skopeo copy -q --src-tls-verify=false "docker://$DAEMON/$ECR/crowd/app:1" "dir:$STATE/crowd/$number" \
            >"$STATE/log/crowd.$number" 2>&1 </dev/null &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" && good=$((good + 1))
    done
    same crowd "twenty first pulls at once succeed" 20 "$good"
    same crowd "all twenty are the same image" 1 "$(sha256sum "$STATE"/crowd/*/manifest.json | cut -d' ' -f1 | sort -u | wc -l)"
    same crowd "twenty first pulls at once fetch each blob from S3 once" "$((LAYERS + 1)) blobs, each once" "$(fetched_blobs)"
    rm -rf "$STATE/crowd"
}

# check_outage CLIENT...: the last of all facts: the fake does not come back.
check_outage() {
    local client app digest
    local -A identities digests
    for client; do
        app=$DAEMON/$ECR/$client/app
        "${client}_forget"
        identities[$client]=$(identity "$client" pull "$app:1")
        digests[$client]=$(digest_of "$client/app")
        "${client}_forget"
    done
    stop_fake
    for client; do
        app=$DAEMON/$ECR/$client/app digest=${digests[$client]}
        same "$client" "pull by digest with ECR gone" \
            "${identities[$client]}" "$(identity "$client" pull "$app@$digest")"
        "${client}_forget"
        same "$client" "pull by tag with ECR gone" "${identities[$client]}" "$(identity "$client" pull "$app:1")"
    done
}
