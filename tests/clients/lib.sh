# shellcheck shell=bash
# Facts, waiting, and what the fake ECR saw. Never starts a program of its own accord.

passed=0
failed=0

# same CLIENT FACT EXPECTED GOT: one line, counted; false when it is not so.
same() {
    if [ -n "$3" ] && [ "$3" = "$4" ]; then
        passed=$((passed + 1))
        printf 'ok   %s: %s\n' "$1" "$2"
    else
        failed=$((failed + 1))
        printf 'FAIL %s: %s: expected %s, got %s\n' "$1" "$2" "${3:-something}" "${4:-nothing}"
        return 1
    fi
}

# The last line, alone on it, and the exit code.
summary() {
    [ "$failed" = 0 ] || tail -n 20 "$STATE/log/longshore" 2>/dev/null | tr -cd '[:print:]\n' | sed 's/^/    longshore: /'
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

die() {
    printf 'the world is broken: %s\n' "$*"
    failed=$((failed + 1))
    summary
    exit 1
}

# start NAME COMMAND...: in the background, output in $STATE/log/NAME, process id in $! and $started.
start() {
    local name=$1
    shift
    "$@" >"$STATE/log/$name" 2>&1 </dev/null &
    started=$!
}

# until_true WHAT COMMAND...: asks again and again, for at most 30 s; then the process that should answer is broken.
until_true() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$started" 2>/dev/null; then
            # The daemon's log comes with the summary.
            [ "$what" = longshore ] || tail -n 20 "$STATE/log/$what" 2>/dev/null | sed 's/^/    /'
            die "$what is not ready"
        fi
        sleep 0.05 # the interval between two looks, not a hope
    done
}

# identity CLIENT VERB REFERENCE: pulls, then prints what the client says it has, or why it has nothing.
identity() {
    local log=$STATE/log/$1.$2
    if "$1_$2" "$3" >"$log" 2>&1 </dev/null; then
        "$1_identity" "$3"
    else
        echo "a failed pull ($(grep -av '^$' "$log" | tail -n 1))"
    fi
}

# limited COMMAND...: a client that hangs is a client that fails. Generous: the machine may be busy.
limited() { timeout 120 "$@"; }

# asked LISTENER: methods and how often, as in "GET 2, HEAD 1"; "nothing" when there was no request.
asked() {
    requests | jq -r --arg listener "$1" '
        [.[] | select(.listener == $listener) | .method] | group_by(.) | map("\(.[0]) \(length)") | join(", ")
        | if . == "" then "nothing" else . end'
}

# fetched_blobs: how often each blob was fetched from S3, as in "5 blobs, each once".
fetched_blobs() {
    requests | jq -r '
        [.[] | select(.listener == "s3") | .digest // (.target | sub("\\?.*"; ""))] | group_by(.)
        | (map(length) | max) as $most
        | "\(length) blobs" + (if $most == null then "" elif $most == 1 then ", each once" else ", one of them \($most) times" end)'
}

# told_s3: which headers S3 must not see came there; "nothing" when none did.
told_s3() {
    requests | jq -r '
        [.[] | select(.listener == "s3") | .headers[]? | .[0] | ascii_downcase
        | select(. == "authorization" or . == "referer" or . == "cookie")] | unique | join(", ")
        | if . == "" then "nothing" else . end'
}

show_requests() { requests | jq -r '.[] | "    \(.listener): \(.method) \(.target | sub("\\?.*"; "")) \(.status)"'; }
requests() { curl -sS --fail "$CONTROL/requests"; }
forget_requests() { curl -sS --fail -X DELETE -o /dev/null "$CONTROL/requests"; }
