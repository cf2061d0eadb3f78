"""Pulls like dockerd: HEAD for the tag, the manifest by digest, the configuration and three layers at once.

Throws the bytes away and checks only their number, or their digest when told to. Never keeps anything on disk.
"""

import hashlib
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pair import Failed

# dockerd's max-concurrent-downloads
AT_ONCE = 3
CHUNK = 256 * 1024
MANIFESTS = ", ".join([
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
])


@dataclass(frozen=True)
class Blob:
    digest: str
    size: int


@dataclass(frozen=True)
class Image:
    repository: str
    digest: str
    config: Blob
    layers: tuple

    @property
    def blobs(self):
        return (self.config, *self.layers)

    @property
    def bytes(self):
        return sum(blob.size for blob in self.blobs)


class Registry:
    """One connection to a registry or proxy; prefix stands in front of every repository's name."""

    def __init__(self, address, prefix=""):
        self.connection = http.client.HTTPConnection(address, timeout=120)
        self.prefix = prefix

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def ask(self, method, repository, rest, accept="*/*"):
        path = f"/v2/{self.prefix}{repository}/{rest}"
        self.connection.request(method, path, headers={"Accept": accept, "User-Agent": "bench"})
        response = self.connection.getresponse()
        if response.status != 200:
            raise Failed(f"{method} {path}: {response.status} {response.read(300)!r}")
        return response

    def resolve(self, repository):
        response = self.ask("HEAD", repository, "manifests/1", MANIFESTS)
        response.read()
        return response.headers["Docker-Content-Digest"]

    def manifest(self, repository, digest):
        body = self.ask("GET", repository, f"manifests/{digest}", MANIFESTS).read()
        if "sha256:" + hashlib.sha256(body).hexdigest() != digest:
            raise Failed(f"the manifest of {repository} is not {digest}")
        manifest = json.loads(body)
        config, *layers = (Blob(d["digest"], d["size"]) for d in [manifest["config"], *manifest["layers"]])
        return Image(repository, digest, config, tuple(layers))

    def blob(self, repository, blob, verify):
        """Reads it to its end; returns the moment of its first byte."""
        response = self.ask("GET", repository, f"blobs/{blob.digest}")
        buffer = bytearray(CHUNK)
        first = response.read1(1)
        at = time.perf_counter()
        digest, size = hashlib.sha256(first), len(first)
        while count := response.readinto(buffer):
            size += count
            if verify:
                digest.update(memoryview(buffer)[:count])
        if size != blob.size or (verify and "sha256:" + digest.hexdigest() != blob.digest):
            raise Failed(f"{size} bytes came for {blob}, or other ones")
        return at


def read(address, repository):
    """What the image is made of, asked straight at the upstream."""
    with Registry(address) as registry:
        return registry.manifest(repository, registry.resolve(repository))


def pull(address, prefix, image, verify):
    """Seconds that the whole image took."""
    local, opened = threading.local(), []

    def layer(blob):
        if not hasattr(local, "registry"):
            local.registry = Registry(address, prefix)
            opened.append(local.registry)
        local.registry.blob(image.repository, blob, verify)

    started = time.perf_counter()
    with Registry(address, prefix) as registry:
        found = registry.manifest(image.repository, registry.resolve(image.repository))
        if found != image:
            raise Failed(f"{found} was pulled for {image}")
        with ThreadPoolExecutor(AT_ONCE) as workers:
            layers = [workers.submit(layer, blob) for blob in found.layers]
            registry.blob(image.repository, found.config, verify)
            for done in layers:
                done.result()
        wall = time.perf_counter() - started
    for registry in opened:
        registry.connection.close()
    return wall


def crowd(address, prefix, image, clients, verify):
    """All ask for the image's layer at one moment: seconds until the last byte, and to the slowest first one."""
    together = threading.Barrier(clients, timeout=30)

    def client():
        with Registry(address, prefix) as registry:
            registry.connection.connect()
            together.wait()
            started = time.perf_counter()
            first = registry.blob(image.repository, image.layers[0], verify)
            return started, first, time.perf_counter()

    with ThreadPoolExecutor(clients) as workers:
        times = [done.result() for done in [workers.submit(client) for _ in range(clients)]]
    started = min(start for start, _, _ in times)
    return max(end for _, _, end in times) - started, max(first - start for start, first, _ in times)
