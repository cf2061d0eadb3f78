"""The fake ECR, the daemon in front of it, and the truth about what they serve.

Starts and ends processes, asks the fake's control interface. Never judges what a client got.
"""

import base64
import hashlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
KIB, MIB = 1024, 1024 * 1024
# Working set of about 60 MiB, for a third of which there is room; what is above 1 MiB comes over several connections.
IMAGES = [[40 * KIB, 700 * KIB, 3 * MIB], [6 * MIB], [200 * KIB] * 4, [2 * MIB, 2 * MIB, 50 * KIB], [9 * MIB, 100 * KIB],
          [1 * MIB] * 3, [30 * KIB, 5 * MIB], [400 * KIB, 4 * MIB, 1 * KIB], [12 * MIB], [3 * MIB, 3 * MIB]]
ROOM = 24 * MIB
# A connection to the storage is slow enough for things to happen while a blob comes.
RATE = 5_000_000
# The scrub looks at all content as often as this, in seconds.
SCRUB_EVERY = 5
BYTES = re.compile(r"listening on .*?\bbytes=(\d+)")
READY = re.compile(r"listening on http://([0-9.]+:\d+)")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Broken(Exception):
    """The soak itself cannot go on."""


@dataclass(frozen=True)
class Blob:
    repository: str
    digest: str
    data: bytes


@dataclass(frozen=True)
class Image:
    repository: str
    digest: str
    manifest: bytes
    blobs: tuple

    def as_blob(self):
        """Its manifest, as content like any other."""
        return Blob(self.repository, self.digest, self.manifest)


class Fake:
    def __init__(self, program, state, seed):
        images = []
        for number, sizes in enumerate(IMAGES):
            shape = f"layer-size={'+'.join(map(str, sizes))},layers={len(sizes)},seed={seed * 1000 + number}"
            images += ["--image", f"{ECR}/soak/{number}:1,{shape},format={'oci' if number % 2 else 'docker'}"]
        self.ca = state / "ca.pem"
        self.log = state / "fake-ecr.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([program, "--ca-file", str(self.ca), *images], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while b"\n" not in self.log.read_bytes():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise Broken(f"the fake ECR does not start: {self.log.read_text()}")
            time.sleep(0.02)
        self.at = json.loads(self.log.read_text().splitlines()[0])
        self.control = urllib.parse.urlsplit(self.at["control"]).netloc

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.control, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            text = response.read()
            if response.status != 200:
                raise Broken(f"the fake refuses {method} {path} {body}: {text!r}")
            return json.loads(text)
        finally:
            connection.close()

    def running(self):
        """Requests that are being answered."""
        return self.ask("GET", "/requests?running")

    def truth(self):
        """All images and their bytes, read at the registry itself."""
        self.ask("POST", "/knobs", {"inline_blobs": True})
        token = self.mint()
        connection = http.client.HTTPConnection(self.at["registry_plain"], timeout=60)

        def read(path, accept):
            basic = base64.b64encode(f"AWS:{token}".encode()).decode()
            connection.request("GET", path, headers={"Host": ECR, "Accept": accept, "Authorization": f"Basic {basic}"})
            response = connection.getresponse()
            data = response.read()
            if response.status != 200:
                raise Broken(f"{path}: {response.status} {data[:200]!r}")
            return data

        images = []
        for number in range(len(IMAGES)):
            name = f"soak/{number}"
            manifest = read(f"/v2/{name}/manifests/1", ACCEPT)
            parsed = json.loads(manifest)
            blobs = []
            for described in [parsed["config"], *parsed["layers"]]:
                digest = described["digest"]
                data = read(f"/v2/{name}/blobs/{digest}", "*/*")
                if digest_of(data) != digest:
                    raise Broken(f"the fake has other bytes for {digest}")
                blobs.append(Blob(name, digest, data))
            images.append(Image(name, digest_of(manifest), manifest, tuple(blobs)))
        self.ask("POST", "/knobs", {"inline_blobs": False, "s3_connection_rate": RATE})
        self.ask("DELETE", "/requests")
        return images

    def mint(self):
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.at["api"]).netloc, timeout=30)
        connection.request("POST", "/", "{}", {
            "Content-Type": "application/x-amz-json-1.1", "X-Amz-Date": "20260101T000000Z",
            "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
            "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/ecr/aws4_request, "
                             "SignedHeaders=host, Signature=x"})
        answer = json.loads(connection.getresponse().read())
        return base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode().removeprefix("AWS:")

    def stop(self):
        self.process.kill()
        self.process.wait()


ACCEPT = ("application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json, "
          "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.index.v1+json")


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Daemon:
    """The process, on one port for the whole soak."""

    def __init__(self, program, state, fake, seed):
        self.program, self.state, self.fake = program, state, fake
        connections = random.Random(seed).choice([1, 2, 4, 16])
        print(f"  connections to a host: {connections}")
        self.cache = state / "cache"
        self.log = state / "longshore.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.process, self.said, self.starts = None, 0, 0
        # A kill and the look at the process must not cross.
        self.turn = threading.Lock()
        (state / "config.toml").write_text(f"""
listen = "{self.address}"
grace = "2s"
[cache]
dir = "{self.cache}"
max_size = "{ROOM}"
min_free = "0"
revalidate = "1s"
scrub_every = "{SCRUB_EVERY}s"
[upstream]
ca_file = "{fake.ca}"
idle_timeout = "2s"
retry_for = "3s"
parallel_above = "{MIB}"
connections_per_host = {connections}
[upstream.connect_to]
"*.dkr.ecr.*.amazonaws.com" = "{fake.at['registry']}"
"*.s3.*.amazonaws.com" = "{fake.at['s3']}"
""")

    def environment(self):
        return {"HOME": str(self.state), "LONGSHORE_CONFIG": str(self.state / "config.toml"), "PATH": os.environ["PATH"],
                "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL_ECR": self.fake.at["api"],
                "RUST_LOG": "info,longshore=debug"}

    def start(self):
        """Returns the bytes that the cache has by its own account."""
        self.said = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([self.program, "serve"], env=self.environment(), stdout=log, stderr=log)
        self.starts += 1
        deadline = time.monotonic() + 60
        while not (ready := READY.search(self.last_words())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Broken(f"the daemon does not start: {self.last_words()[-2000:]}")
            time.sleep(0.01)
        line = next(line for line in self.last_words().splitlines() if ready.group(0) in line)
        return int(BYTES.search(line).group(1))

    def usage(self):
        """What `longshore cache du` says is taken, or None when there is no such command."""
        command = [self.program, "cache", "du", "--json"]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return json.loads(done.stdout)["total"]
        if "unrecognized subcommand" in done.stderr:
            return None
        raise Broken(f"longshore cache du: {done.stderr.strip()}")

    def last_words(self):
        """What it logged since its last start."""
        with open(self.log, "rb") as log:
            log.seek(self.said)
            return ANSI.sub("", log.read().decode(errors="replace"))

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def died(self):
        return self.process.poll() is not None

    def content(self, digest):
        text = digest.removeprefix("sha256:")
        return self.cache / "content-v2/sha256" / text[:2] / text[2:4] / text[4:]

    def staging(self):
        return self.cache / "staging"

    def wrong_content(self):
        """Files of content whose bytes are not what their path says."""
        folder = self.cache / "content-v2/sha256"
        files = [path for path in folder.rglob("*") if path.is_file()]
        names = {path: "sha256:" + "".join(path.relative_to(folder).parts) for path in files}
        return [name for path, name in names.items() if digest_of(path.read_bytes()) != name]

    def records(self):
        return self.cache / "index-v5"


def taken(folder):
    """Bytes of the disk that a folder takes, as du counts them: each file once, folders too."""
    seen, total = set(), 0
    for path in [folder, *Path(folder).rglob("*")]:
        try:
            about = os.lstat(path)
        except FileNotFoundError:
            continue
        if about.st_ino not in seen:
            seen.add(about.st_ino)
            total += about.st_blocks * 512
    return total
