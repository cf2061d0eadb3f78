"""The two pull-through caches, with a fresh folder and a fresh process each time, and what they ask of the upstream.

Knows where each of them keeps a blob, to wait until it has it. Never measures.
"""

import http.client
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pair import Daemon, Failed, Program, said, until

# "GET /v2/… HTTP/1.1" 200 1048576
ACCESS = re.compile(r'"([A-Z]+) (/v2/\S*) HTTP/1\.1" (\d{3}) (\d+)')
LISTENING, TIME_WAIT = "0A", "06"


class Upstream:
    """The registry behind both: its access log tells requests and bytes."""

    def __init__(self, address, log):
        self.address = address
        self.log = Path(log)

    def mark(self):
        return self.log.stat().st_size

    def requests(self, start, end=None):
        """(method, path, status, bytes of the body) of all requests between two marks."""
        with open(self.log, "rb") as file:
            file.seek(start)
            text = file.read() if end is None else file.read(end - start)
        found = ACCESS.findall(text.decode())
        return [(method, path, int(status), int(size)) for method, path, status, size in found]

    def logged(self, start, blobs):
        """Whether the log has a GET of each blob: a line is written a moment after the last byte was sent."""
        paths = [path for method, path, _, _ in self.requests(start) if method == "GET"]
        return all(any(path.endswith(blob.digest) for path in paths) for blob in blobs)

    def is_idle(self):
        """Whether no connection is left, so that every request is in the log."""
        port = f":{int(self.address.rpartition(':')[2]):04X}"
        with open("/proc/net/tcp", encoding="ascii") as file:
            lines = [line.split() for line in file][1:]
        return not any(line[1].endswith(port) and line[3] not in (LISTENING, TIME_WAIT) for line in lines)


@dataclass
class Proxy:
    """What both have in common; a run is: start, pulls, stop."""

    program: str
    upstream: Upstream
    state: Path
    # more lines for Longshore's [cache]
    cache: str = ""

    def start(self):
        folder = self.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # What the run before wrote must not be on its way to the disk while this one is measured.
        os.sync()
        self.configure()
        log = Path(os.environ["STATE"]) / "log" / Path(self.program).name
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), **self.environment}
        self.daemon = Daemon(Program([self.program, *self.arguments], env, stdout=str(log)))
        self.daemon.start()
        until(f"an answer of {self.program}", self.answers)

    def answers(self):
        if not self.daemon.alive():
            raise Failed(f"{self.program} does not start: {said(self.daemon.program.stdout)}")
        connection = http.client.HTTPConnection(self.address, timeout=5)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def settle(self, image, blobs):
        """Waits until the blobs are where a later pull finds them: both may commit after the client's last byte."""
        until(f"{self.program} to keep {image.repository}", lambda: all(self.has(image, blob) for blob in blobs))

    def stop(self):
        self.daemon.stop()
        until("the upstream's last request", self.upstream.is_idle)
        shutil.rmtree(self.folder)


class Longshore(Proxy):
    address = "127.0.0.1:5577"
    prefix = "registry.test/"
    arguments = ["serve"]

    @property
    def folder(self):
        return self.state / "longshore"

    @property
    def environment(self):
        return {"LONGSHORE_CONFIG": str(self.folder / "config.toml")}

    def configure(self):
        (self.folder / "config.toml").write_text(f"""
listen = "{self.address}"
[cache]
dir = "{self.folder / "cache"}"
{self.cache}
[[registry]]
match = "registry.test"
endpoint = "http://{self.upstream.address}"
""")

    def has(self, _, blob):
        digest = blob.digest.removeprefix("sha256:")
        return (self.folder / "cache/content-v2/sha256" / digest[:2] / digest[2:4] / digest[4:]).exists()


class DockerRegistry(Proxy):
    """Debian's configuration, with a proxy section and without a password."""

    address = "127.0.0.1:5020"
    prefix = ""
    environment = {}

    @property
    def folder(self):
        return self.state / "docker-registry"

    @property
    def arguments(self):
        return ["serve", str(self.folder / "config.yml")]

    def configure(self):
        (self.folder / "config.yml").write_text(f"""
version: 0.1
log: {{fields: {{service: registry}}}}
storage:
  cache: {{blobdescriptor: inmemory}}
  filesystem: {{rootdirectory: {self.folder / "data"}}}
  delete: {{enabled: true}}
http:
  addr: "{self.address}"
  headers: {{X-Content-Type-Options: [nosniff]}}
health: {{storagedriver: {{enabled: true, interval: 10s, threshold: 3}}}}
proxy: {{remoteurl: "http://{self.upstream.address}"}}
""")

    def has(self, image, blob):
        """A blob counts only once the repository links it."""
        digest = blob.digest.removeprefix("sha256:")
        root = self.folder / "data/docker/registry/v2"
        data = root / "blobs/sha256" / digest[:2] / digest / "data"
        link = root / "repositories" / image.repository / "_layers/sha256" / digest / "link"
        return data.exists() and link.exists()
