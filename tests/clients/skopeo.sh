# shellcheck shell=bash
# skopeo, which keeps no images: a pull is a copy into a folder.

skopeo_start() { mkdir -p "$STATE/empty"; }

skopeo_pull() { limited skopeo copy "docker://$1" "dir:$STATE/skopeo"; }
skopeo_direct() { limited skopeo copy --src-creds "AWS:$TOKEN" "docker://$1" "dir:$STATE/skopeo"; }
skopeo_helper() { limited skopeo copy --src-authfile "$STATE/helper/config.json" "docker://$1" "dir:$STATE/skopeo"; }

# The digest of the manifest, and one over the names of all files; skopeo checked each against its name.
skopeo_identity() {
    echo "sha256:$(sha256sum <"$STATE/skopeo/manifest.json" | cut -d' ' -f1)" \
        "$(cd "$STATE/skopeo" && printf '%s\n' * | sha256sum | cut -c1-12)"
}

skopeo_forget() { rm -rf "$STATE/skopeo"; }

# inspect reads the index and the configuration; list-tags is the one request of these tests that is never cached.
skopeo_more() {
    local app=$ECR/skopeo/app
    same skopeo "inspect through the daemon is the direct answer" \
        "$(skopeo_says inspect --no-tags --creds "AWS:$TOKEN" "docker://$app:1")" \
        "$(skopeo_says inspect --no-tags "docker://$DAEMON/$app:1")"
    same skopeo "list-tags through the daemon is the direct answer" \
        "$(skopeo_says list-tags --creds "AWS:$TOKEN" "docker://$app")" \
        "$(skopeo_says list-tags "docker://$DAEMON/$app")"
}

# The answer without the name that was asked for, or the complaint.
skopeo_says() {
    limited skopeo "$@" 2>&1 | jq --raw-input --slurp --sort-keys --compact-output \
        '. as $text | try (fromjson | del(.Name, .Repository)) catch $text'
}
