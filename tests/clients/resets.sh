# shellcheck shell=bash
# An upstream that resets every connection to its storage after 1 MiB, for as long as the pull lasts: no client may notice.
# Never takes a fault back in between: what a client gets through is what the daemon takes up again.

RESET_AFTER=1048576
# Three layers of 5, 8 and 20 MiB.
export RESETTING_LAYERS=5242880+8388608+20971520 # read by world.sh

check_resets() {
    local client=$1 image=$ECR/$1/resets:1 direct size since
    "${client}_forget"
    direct=$(identity "$client" direct "$image")
    "${client}_forget"
    pulled "$client" "pulls directly what comes without resets" "$direct" || return
    size=$(size_of "$client/resets")
    forget_requests
    since=$(wc -c <"$STATE/log/longshore")
    fault "{\"listener\": \"s3\", \"actions\": [{\"reset_after\": $RESET_AFTER}]}"
    same "$client" "pull through an upstream that resets every 1 MiB is the direct image" \
        "$direct" "$(identity "$client" pull "$DAEMON/$image")"
    same "$client" "every answer of S3 was reset" "resets only" "$(answers_reset $((size / RESET_AFTER)))"
    same "$client" "resets cost at most a twentieth more bytes" "at most 105 %" "$(fetched_of "$size")"
    same "$client" "the daemon's log tells of the resets" "it does" "$(told_of_resets "$since")"
    forget_faults
    "${client}_forget"
    check_warm "$client" pull "pull of what came in pieces" "$direct" "$DAEMON/$image"
}

# As containerd from version 2 on reads a large layer: four requests at once, each for all behind a byte and ended by the
# client when the next one's part begins. Debian has no such containerd; these are its requests.
check_ranges() {
    local digest size step part pids=() pid good=0 work=$STATE/ranges
    mkdir -p "$work"
    read -r digest size < <(manifest_of ranges/resets | jq -r '.layers | max_by(.size) | "\(.digest) \(.size)"')
    step=$(((size + 3) / 4))
    forget_requests
    fault "{\"listener\": \"s3\", \"actions\": [{\"reset_after\": $RESET_AFTER}]}"
    for part in 0 1 2 3; do
        (
            set +o pipefail # curl complains that it was ended
            limited curl -sS --fail --range "$((part * step))-" "http://$DAEMON/v2/$ECR/ranges/resets/blobs/$digest" \
                2>"$STATE/log/ranges.$part" | head -c "$step" >"$work/$part"
            [ -s "$work/$part" ]
        ) &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" && good=$((good + 1))
    done
    same ranges "four open-ended ranges at once bring bytes, through resets" 4 "$good"
    same ranges "together they are the layer" "$digest" "sha256:$(cat "$work"/[0-3] | sha256sum | cut -d' ' -f1)"
    same ranges "they cost at most a twentieth more bytes" "at most 105 %" "$(fetched_of "$size")"
    forget_faults
    rm -rf "$work"
}

fault() { curl -sS --fail -o /dev/null -d "$1" "$CONTROL/faults" || die "the fake ECR refuses $1"; }
forget_faults() { curl -sS --fail -X DELETE -o /dev/null "$CONTROL/faults"; }

# size_of REPOSITORY: bytes of the configuration and the layers of tag 1, an image for one platform.
size_of() { manifest_of "$1" | jq '[.config.size, .layers[].size] | add'; }

manifest_of() {
    curl -sS --fail -u "AWS:$TOKEN" -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
        "https://$ECR/v2/$1/manifests/1"
}

# answers_reset LEAST: "resets only" when no fewer answers than that came, and none was written without a reset.
answers_reset() {
    requests | jq -r --argjson least "$1" '
        [.[] | select(.listener == "s3")] | if length < $least then "\(length) answers, not \($least)"
        elif any(.[]; .finished) then "\(map(select(.finished)) | length) whole answers" else "resets only" end'
}

# fetched_of BYTES: what S3 sent of the image that has so many, as "at most 105 %".
fetched_of() {
    curl -sS --fail "$CONTROL/stats" | jq -r --argjson size "$1" '
        ([.s3_bytes[]] | add) as $sent
        | if $sent <= 1.05 * $size and $sent >= $size then "at most 105 %" else "\($sent) bytes for \($size)" end'
}

# told_of_resets BYTE: whether what was logged from there on says that connections broke.
told_of_resets() {
    local lines
    # To its end: a reader that leaves early would make tail, and with it the pipe, fail.
    lines=$(tail -c "+$(($1 + 1))" "$STATE/log/longshore" | grep -ciE 'reset|broke off')
    if [ "${lines:-0}" -gt 0 ]; then echo "it does"; else echo "it does not"; fi
}
