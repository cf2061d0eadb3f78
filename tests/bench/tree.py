"""Images of random bytes as a plain folder that any web server can serve as a registry, and the way into a real one.

A folder v2/NAME has blobs/DIGEST, manifests/DIGEST and manifests/1. Never measures.
"""

import hashlib
import http.client
import json
import os
from pathlib import Path

from pair import Failed
from pull import Blob, Image

MIB = 1024 * 1024
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def path(image, blob, prefix=""):
    return f"/v2/{prefix}{image.repository}/blobs/{blob.digest}"


def manifest_path(image, reference, prefix=""):
    return f"/v2/{prefix}{image.repository}/manifests/{reference}"


def keep(folder, data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / digest).write_bytes(data)
    return Blob(digest, len(data))


def plant(root, repository, sizes):
    """An image with layers of these sizes."""
    home = Path(root) / "v2" / repository
    layers = tuple(keep(home / "blobs", os.urandom(size)) for size in sizes)
    diffs = [layer.digest for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}}
    config = keep(home / "blobs", json.dumps(config).encode())

    def described(kind, blob):
        return {"mediaType": kind, "size": blob.size, "digest": blob.digest}

    body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": described(CONFIG, config),
                       "layers": [described(LAYER, layer) for layer in layers]}, indent=3).encode()
    manifest = keep(home / "manifests", body)
    (home / "manifests" / "1").write_bytes(body)
    return Image(repository, manifest.digest, config, layers)


def push(address, root, image):
    """Into a registry's own store, as docker push does."""
    home = Path(root) / "v2" / image.repository
    connection = http.client.HTTPConnection(address, timeout=60)

    def ask(method, url, body=None, kind="application/octet-stream"):
        connection.request(method, url, body=body, headers={"Content-Type": kind})
        response = connection.getresponse()
        said = response.read()
        if response.status not in (201, 202):
            raise Failed(f"{method} {url}: {response.status} {said[:300]!r}")
        return response.headers.get("Location", "")

    for blob in image.blobs:
        at = ask("POST", f"/v2/{image.repository}/blobs/uploads/")
        with open(home / "blobs" / blob.digest, "rb") as file:
            ask("PUT", f"{at}{'&' if '?' in at else '?'}digest={blob.digest}", file.read())
    ask("PUT", manifest_path(image, "1"), (home / "manifests" / "1").read_bytes(), MANIFEST)
    connection.close()
