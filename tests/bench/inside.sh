# shellcheck shell=bash
# The first process in the namespaces that run.sh made: builds the world, then lets bench.py measure in it.
# Never runs outside them, where it would cover the machine's own /etc/hosts and certificates.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $$ = 1 ] || { echo "inside.sh: start run.sh instead" >&2 && exit 1; }
for part in lib world; do
    # shellcheck disable=SC1090 # the files of the tests with real clients
    . "$here/../clients/$part.sh"
done

# Here nothing is counted as passed or failed, so the last line is another one.
die() {
    printf 'the world is broken: %s\n' "$*" >&2
    exit 1
}

API=api.ecr.us-east-1.amazonaws.com
API_ADDRESS=192.0.2.4
# As anonymous users reach it: without TLS, without a password.
export UPSTREAM=127.0.0.1:5010
export UPSTREAM_LOG=$STATE/log/upstream
# REPOSITORY LAYERS BYTES-OF-A-LAYER: what is pulled.
IMAGES="bench/large 4 16777216
bench/wide 20 1048576
bench/one 1 67108864"

make_bench_world() {
    mkdir -p "$STATE"/{log,home,etc,tls,upstream,no-certificates} || die "no room in $STATE"
    private_folders
    echo "$API_ADDRESS $API" >>/etc/hosts
    ip link set lo up || die "no network namespace of its own"
    local address
    for address in "$ECR_ADDRESS" "$S3_ADDRESS" "$API_ADDRESS"; do
        ip address add "$address/32" dev lo || die "no address $address"
    done
    export HOME=$STATE/home
    start_fake_with_images
    start_api_with_tls
    trust_as_machine
    start_upstream
}

start_fake_with_images() {
    local repository layers bytes shape images=() seed=0
    while read -r repository layers bytes; do
        shape="layers=$layers,layer-size=$bytes,platforms=linux/amd64,format=docker"
        # Equal seeds are equal layers: no image may bring another's.
        images+=(--image "$ECR/$repository:1,$shape,seed=$((seed += 100))")
    done <<<"$IMAGES"
    start fake-ecr "$FAKE_ECR" --registry-listen "$ECR_ADDRESS:443" --registry-plain-listen 127.0.0.1:0 \
        --s3-listen "$S3_ADDRESS:443" --api-listen 127.0.0.1:0 --control-listen 127.0.0.1:0 \
        --ca-file "$STATE/tls/fake.pem" "${images[@]}"
    until_true fake-ecr grep -q '"control"' "$STATE/log/fake-ecr"
    CONTROL=$(grep -m 1 '"control"' "$STATE/log/fake-ecr" | jq -r .control)
    # Read by mint; the programs under measurement are given neither.
    AWS_ENDPOINT_URL_ECR=$(grep -m 1 '"control"' "$STATE/log/fake-ecr" | jq -r .api)
    export CONTROL
    until_true fake-ecr curl -sS --fail "$CONTROL/stats"
}

# ECR's API under its real name: Debian's helper takes no other endpoint.
start_api_with_tls() {
    (
        cd "$STATE/tls" || exit
        key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2)
        openssl req -x509 "${key[@]}" -subj "/CN=benchmark authority" -keyout ca.key -out ca.pem &&
            openssl req -x509 "${key[@]}" -subj "/CN=$API" -keyout api.key -out api.pem -CA ca.pem -CAkey ca.key \
                -addext "subjectAltName=DNS:$API" -addext basicConstraints=critical,CA:FALSE
    ) >"$STATE/log/openssl" 2>&1 || die "openssl makes no certificate: $(tail -n 1 "$STATE/log/openssl")"
    start api python3 "$here/terminator.py" "$API_ADDRESS:443" "${AWS_ENDPOINT_URL_ECR#http://}" \
        "$STATE/tls/api.pem" "$STATE/tls/api.key"
    until_true api curl -sS -o /dev/null --cacert "$STATE/tls/ca.pem" "https://$API/"
}

# What a machine trusts, and our authority: the cost of reading all of it belongs to a first get.
trust_as_machine() {
    cp -a /etc/ssl/certs "$STATE/certificates" || die "the machine's certificates cannot be read"
    cat "$STATE/tls/ca.pem" >>"$STATE/certificates/ca-certificates.crt"
    mount --bind "$STATE/certificates" /etc/ssl/certs || die "/etc/ssl/certs cannot be covered"
}

# Debian's docker-registry: its access log is what counts the requests and bytes of both proxies.
start_upstream() {
    cat >"$STATE/upstream/config.yml" <<TEXT
version: 0.1
log: {level: error}
storage:
  cache: {blobdescriptor: inmemory}
  filesystem: {rootdirectory: $STATE/upstream/data}
http: {addr: "$UPSTREAM"}
TEXT
    start upstream docker-registry serve "$STATE/upstream/config.yml"
    export UPSTREAM_PID=$!
    until_true upstream curl -sS --fail "http://$UPSTREAM/v2/"
    local token repository rest
    token=$(mint)
    [ -n "$token" ] || die "the fake ECR gives no token"
    while read -r repository rest; do
        SSL_CERT_FILE=$STATE/tls/fake.pem skopeo --insecure-policy copy -q --src-creds "AWS:$token" \
            --dest-tls-verify=false "docker://$ECR/$repository:1" "docker://$UPSTREAM/$repository:1" \
            >"$STATE/log/skopeo" 2>&1 </dev/null ||
            die "cannot fill the upstream registry with $repository $rest: $(tail -n 1 "$STATE/log/skopeo")"
    done <<<"$IMAGES"
}

make_bench_world
python3 "$here/bench.py"
