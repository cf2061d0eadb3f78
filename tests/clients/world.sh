# shellcheck shell=bash
# The world inside the namespaces: names, the fake ECR, a second registry, the daemon.
# Never leaves anything on the machine: what it writes is under $STATE or on a tmpfs.

# Read by the other files.
export ECR=123456789012.dkr.ecr.us-east-1.amazonaws.com
export PUBLIC=public.ecr.aws/k5n6o2s4
export DAEMON=localhost:5577
# Documentation addresses, on the loopback interface: dockerd trusts any certificate, and tries plain http, when a
# registry's name leads to 127.0.0.0/8.
ECR_ADDRESS=192.0.2.2
S3_ADDRESS=192.0.2.3
SECOND=127.0.0.1:5010
LAYERS=3

make_world() {
    mkdir -p "$STATE"/{bin,log,home,etc,cache,second} || die "no room in $STATE"
    private_folders
    ip link set lo up || die "no network namespace of its own"
    ip address add "$ECR_ADDRESS/32" dev lo
    ip address add "$S3_ADDRESS/32" dev lo
    ln -s "$BIN_DIR/docker-credential-longshore" "$STATE/bin/"
    export HOME=$STATE/home XDG_CACHE_HOME=$STATE/cache
    export AWS_ACCESS_KEY_ID=AKIDEXAMPLE AWS_SECRET_ACCESS_KEY=secret AWS_REGION=us-east-1
    export AWS_EC2_METADATA_DISABLED=true
    start_fake
    export SSL_CERT_FILE=$STATE/ca.pem
    TOKEN=$(mint)
    [ -n "$TOKEN" ] || die "the fake ECR gives no token"
    export TOKEN
    write_client_configuration
    start_second
    start_daemon
}

# ECR's names lead to the fake, and what the clients write outside their own folders is not the machine's.
private_folders() {
    mount -t tmpfs tmpfs /run || die "no mount namespace of its own"
    cat >"$STATE/etc/hosts" <<TEXT
127.0.0.1 localhost
$ECR_ADDRESS $ECR public.ecr.aws
$S3_ADDRESS prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com d5l0dvt14r5h8.cloudfront.net
TEXT
    mount --bind "$STATE/etc/hosts" /etc/hosts || die "/etc/hosts cannot be covered"
    local folder
    for folder in /etc/docker /etc/containers /etc/containerd /var/lib/containers; do
        mkdir -p "$STATE$folder" "$folder"
        mount --bind "$STATE$folder" "$folder" || die "$folder cannot be covered"
    done
}

start_fake() {
    # Equal seeds are equal layers: every image has its own, so that none brings another's.
    local client images=() seed=0 shape="layers=$LAYERS,platforms=linux/amd64+linux/arm64"
    for client in $CLIENTS; do
        images+=(--image "$ECR/$client/app:1,layer-size=300000,format=docker,$shape,seed=$((seed += 100))")
        images+=(--image "$ECR/$client/other:1,layer-size=300000,format=oci,$shape,seed=$((seed += 100))")
        images+=(--image "$ECR/$client/second:1,layer-size=300000,format=docker,$shape,seed=$((seed += 100))")
        images+=(--image "$ECR/$client/resets:1,layer-size=$RESETTING_LAYERS,format=oci,platforms=linux/$(go_arch),seed=$((seed += 100))")
    done
    images+=(--image "$ECR/ranges/resets:1,layer-size=$RESETTING_LAYERS,format=oci,platforms=linux/$(go_arch),seed=$((seed += 100))")
    images+=(--image "$ECR/crowd/app:1,layer-size=2000000,format=oci,$shape,seed=$((seed += 100))")
    images+=(--image "$PUBLIC/app:1,layer-size=300000,format=docker,$shape,seed=$((seed += 100))")
    start fake-ecr "$FAKE_ECR" --registry-listen "$ECR_ADDRESS:443" --registry-plain-listen 127.0.0.1:0 \
        --s3-listen "$S3_ADDRESS:443" --api-listen 127.0.0.1:0 --control-listen 127.0.0.1:0 \
        --ca-file "$STATE/ca.pem" "${images[@]}"
    FAKE=$!
    until_true fake-ecr grep -q '"control"' "$STATE/log/fake-ecr"
    CONTROL=$(grep -m 1 '"control"' "$STATE/log/fake-ecr" | jq -r .control)
    AWS_ENDPOINT_URL_ECR=$(grep -m 1 '"control"' "$STATE/log/fake-ecr" | jq -r .api)
    export CONTROL AWS_ENDPOINT_URL_ECR AWS_ENDPOINT_URL_ECR_PUBLIC=$AWS_ENDPOINT_URL_ECR
    until_true fake-ecr curl -sS --fail "$CONTROL/stats"
}

# Without a farewell: connections the daemon keeps in its pool break too.
stop_fake() {
    kill -KILL "$FAKE"
    wait "$FAKE" 2>/dev/null
    ! curl -sS --max-time 5 -o /dev/null "https://$ECR/v2/" 2>/dev/null || die "the fake ECR still answers"
}

# What `aws ecr get-login-password` prints; the fake does not check the signature.
mint() {
    curl -sS --fail -X POST "$AWS_ENDPOINT_URL_ECR/" -d '{}' \
        -H 'Content-Type: application/x-amz-json-1.1' -H 'X-Amz-Date: 20260101T000000Z' \
        -H 'X-Amz-Target: AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken' \
        -H 'Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/ecr/aws4_request, SignedHeaders=host, Signature=x' |
        jq -r '.authorizationData[0].authorizationToken' | base64 -d | sed 's/^AWS://'
}

# digest_of REPOSITORY: of what tag 1 stands for, as the registry itself says.
digest_of() {
    curl -sS --fail --head -u "AWS:$TOKEN" "https://$ECR/v2/$1/manifests/1" \
        -H 'Accept: application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json' \
        -H 'Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json' |
        tr -d '\r' | awk 'tolower($1) == "docker-content-digest:" { print $2 }'
}

# The two ways a client gets ECR credentials without the daemon: a minted token, and the credential helper.
write_client_configuration() {
    mkdir -p "$STATE/token" "$STATE/helper"
    jq -n --arg host "$ECR" --arg auth "$(printf 'AWS:%s' "$TOKEN" | base64 -w 0)" \
        '{auths: {($host): {auth: $auth}}}' >"$STATE/token/config.json"
    jq -n --arg host "$ECR" '{credHelpers: {($host): "longshore"}}' >"$STATE/helper/config.json"
    # dockerd and containerd take plain http for localhost by themselves, these do not.
    cat >/etc/containers/registries.conf <<TEXT
[[registry]]
location = "$DAEMON"
insecure = true
TEXT
    echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/etc/containers/policy.json
    export CONTAINERS_REGISTRIES_CONF=/etc/containers/registries.conf
}

# Debian's docker-registry with a password: an upstream that is not ECR.
start_second() {
    printf 'pull-%s' "$RANDOM" >"$STATE/second/password"
    chmod 600 "$STATE/second/password"
    htpasswd -iBn puller <"$STATE/second/password" >"$STATE/second/htpasswd" 2>/dev/null
    cat >"$STATE/second/config.yml" <<TEXT
version: 0.1
storage: {filesystem: {rootdirectory: $STATE/second/data}}
auth: {htpasswd: {realm: second, path: $STATE/second/htpasswd}}
http: {addr: "$SECOND"}
TEXT
    start second docker-registry serve "$STATE/second/config.yml"
    until_true second curl -sS "http://$SECOND/v2/"
    local client
    for client in $CLIENTS; do
        skopeo copy -q --all --src-creds "AWS:$TOKEN" --dest-tls-verify=false \
            --dest-creds "puller:$(cat "$STATE/second/password")" \
            "docker://$ECR/$client/second:1" "docker://$SECOND/team/$client:1" >"$STATE/log/second.push" 2>&1 ||
            die "cannot fill the second registry: $(tail -n 1 "$STATE/log/second.push")"
    done
}

start_daemon() {
    cat >"$STATE/longshore.toml" <<TEXT
[upstream]
ca_file = "$STATE/ca.pem"

[[registry]]
match = "registry.test"
endpoint = "http://$SECOND"
username = "puller"
password_file = "$STATE/second/password"
TEXT
    # Without SSL_CERT_FILE: the daemon has to trust the fake by its own configuration.
    # The debug lines say what the clients do not notice.
    start longshore env -u SSL_CERT_FILE RUST_LOG=info,longshore=debug LONGSHORE_CONFIG="$STATE/longshore.toml" "$BIN_DIR/longshore" serve
    until_true longshore curl -sS --fail "http://127.0.0.1:5577/v2/"
}
