"""Those who act at random: clients, the upstream's faults, damage to the cache folder, kills.

Each draws from a generator of its own, so that a seed gives each the same actions. A client checks all it gets at once.
"""

import http.client
import os
import random
import threading
import time
from collections import Counter

from world import ACCEPT, ECR, KIB, SCRUB_EVERY, digest_of

# Errors of a connection that breaks; an answer that is not whole is no answer.
BREAKS = (OSError, http.client.HTTPException)
# No fault lasts so long, and no retry: who waits longer for a byte waits for nothing. In seconds.
PATIENCE = 30
# A disk that rots tells nobody: after so many seconds, of which the machine may be busy for some, the scrub has seen it.
SEEN_WITHIN = 3 * SCRUB_EVERY


class Witness:
    """What was seen: counts, and everything that was wrong."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts, self.wrong = Counter(), []
        self.flips = []  # (digest, when it began, until when it may be served)
        self.unproven = []  # (digest, until when a part may be of what came wrong)
        self.lost = []  # blobs whose downloads were deleted under way
        self.spoiled = []  # blobs, once for each answer that carried wrong bytes of them
        self.cut = set()  # numbers of the storage's answers that a kill cut

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def complain(self, what):
        with self.lock:
            self.wrong.append(f"{time.strftime('%H:%M:%S')} {what}")

    def was_being_flipped(self, digest, began):
        """Whether its file was damaged while an answer that began then was on its way, or too lately to be known."""
        with self.lock:
            return any(flipped == digest and known >= began for flipped, _, known in self.flips)

    def came_wrong(self, digest, began):
        """Whether upstream sent wrong bytes of it then, or a moment before."""
        with self.lock:
            return any(wrong == digest and until >= began for wrong, until in self.unproven)


class Actor(threading.Thread):
    """Acts again and again until it is told to stop."""

    def __init__(self, name, seed, over):
        super().__init__(name=name, daemon=True)
        self.random, self.over = random.Random(f"{seed} {name}"), over
        self.failure = None

    def run(self):
        try:
            while not self.over.is_set():
                self.act()
        except Exception as error:  # pylint: disable=broad-except # whoever joins it tells
            self.failure = error

    def pause(self, least, most):
        self.over.wait(self.random.uniform(least, most))


class Client(Actor):
    def __init__(self, number, seed, over, address, images, witness):
        super().__init__(f"client {number}", seed, over)
        self.address, self.images, self.witness = address, images, witness

    def act(self):
        # Some images are asked for more often than others.
        image = self.images[min(int(self.random.expovariate(0.3)), len(self.images) - 1)]
        blob = self.random.choice(image.blobs)
        acts = [(self.whole, 5), (self.part, 5), (self.parts, 1), (self.head, 2), (self.leave, 3), (self.slow, 1),
                (self.manifest, 3)]
        act = self.random.choices([act for act, _ in acts], [weight for _, weight in acts])[0]
        try:
            act(image, blob)
        except TimeoutError:
            self.witness.complain(f"{self.name}: {act.__name__} of {blob.repository} {blob.digest}: not a byte for {PATIENCE} s")
        except BREAKS:
            self.witness.count(f"{act.__name__}: broke off")
        self.pause(0, 0.2)

    def open(self, method, path, headers=None):
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        connection.request(method, f"/v2/{ECR}/{path}", headers={"Accept": ACCEPT, **(headers or {})})
        return connection, connection.getresponse()

    def read(self, act, method, path, headers=None):
        """The answer with its whole body, or None when it was an error."""
        connection, response = self.open(method, path, headers)
        try:
            body = response.read()
        finally:
            connection.close()
        if response.status not in (200, 206):
            self.witness.count(f"{act}: {response.status}")
            return None
        self.witness.count(f"{act}: whole")
        return response, body

    def check(self, blob, began, what, good, response=None):
        """Of a part that is sent while the blob comes nobody knows yet whether it is right; of a whole one knows."""
        if good:
            return
        is_on_its_way = response is not None and response.headers.get("X-Longshore-Cache") != "hit"
        if is_on_its_way and self.witness.came_wrong(blob.digest, began):
            self.witness.count("a part of what came wrong")
            return
        if self.witness.was_being_flipped(blob.digest, began):
            self.witness.count("wrong bytes of a file that was damaged meanwhile")
            return
        self.witness.complain(f"{self.name}: {blob.repository} {blob.digest}: {what}")

    def whole(self, _, blob):
        began = time.monotonic()
        answer = self.read("whole", "GET", f"{blob.repository}/blobs/{blob.digest}")
        if answer is not None:
            self.check(blob, began, f"{len(answer[1])} wrong bytes, {len(blob.data)} wanted", answer[1] == blob.data)

    def part(self, _, blob):
        size = len(blob.data)
        first = self.random.randrange(size)
        last = min(first + self.random.choice([0, 100, 64 * KIB, 600 * KIB]), size - 1)
        first, end, text = self.random.choice([(first, last + 1, f"{first}-{last}"), (first, size, f"{first}-"),
                                               (size - min(size, last + 1), size, f"-{last + 1}")])
        began = time.monotonic()
        answer = self.read("part", "GET", f"{blob.repository}/blobs/{blob.digest}", {"Range": f"bytes={text}"})
        if answer is None:
            return
        response, body = answer
        want = blob.data if response.status == 200 else blob.data[first:end]
        self.check(blob, began, f"{len(body)} wrong bytes of range {text}", body == want, response)
        told = response.headers.get("Content-Range")
        if response.status == 206 and told != f"bytes {first}-{end - 1}/{size}":
            self.witness.complain(f"{self.name}: {blob.digest}: Content-Range {told} for {text} of {size}")

    def parts(self, _, blob):
        """Two ranges at once that do not meet: each has to be there, behind its own head."""
        size, began = len(blob.data), time.monotonic()
        first, second = self.random.randrange(size // 2), self.random.randrange(size // 2 + 2, size)
        ranges = [(first, min(first + 1000, second - 1)), (second, min(second + 200 * KIB, size))]
        text = ", ".join(f"{start}-{end - 1}" for start, end in ranges)
        answer = self.read("parts", "GET", f"{blob.repository}/blobs/{blob.digest}", {"Range": f"bytes={text}"})
        if answer is None:
            return
        response, body = answer
        want = [f"Content-Range: bytes {start}-{end - 1}/{size}\r\n\r\n".encode() + blob.data[start:end]
                for start, end in ranges]
        is_good = body == blob.data if response.status == 200 else all(part in body for part in want)
        self.check(blob, began, f"{len(body)} wrong bytes of ranges {text}", is_good, response)

    def head(self, _, blob):
        answer = self.read("head", "HEAD", f"{blob.repository}/blobs/{blob.digest}")
        if answer is not None and answer[0].headers.get("Content-Length") != str(len(blob.data)):
            self.witness.complain(f"{self.name}: HEAD {blob.digest}: {answer[0].headers.get('Content-Length')} bytes")

    def leave(self, _, blob):
        connection, response = self.open("GET", f"{blob.repository}/blobs/{blob.digest}")
        most = self.random.randrange(len(blob.data) + 1)
        got = response.read(most) if response.status == 200 else b""
        connection.close()
        self.witness.count("leave: left")
        # What is not the whole need not be right: only the last bytes wait for the digest.
        if response.status == 200 and got != blob.data[:len(got)]:
            self.witness.count("leave: wrong bytes at the start of what was not the whole")

    def slow(self, _, blob):
        began, got = time.monotonic(), b""
        connection, response = self.open("GET", f"{blob.repository}/blobs/{blob.digest}")
        step = max(len(blob.data) // 20, 1)
        while response.status == 200 and not self.over.is_set() and (piece := response.read(step)):
            got += piece
            self.pause(0.05, 0.2)
        connection.close()
        if response.status == 200 and len(got) == len(blob.data):
            self.witness.count("slow: whole")
            self.check(blob, began, "wrong bytes, slowly", got == blob.data)

    def manifest(self, image, _):
        began = time.monotonic()
        method, reference = self.random.choice(["GET", "HEAD"]), self.random.choice(["1", image.digest])
        answer = self.read("manifest", method, f"{image.repository}/manifests/{reference}")
        if answer is None:
            return
        response, body = answer
        if method == "GET":
            self.check(image.as_blob(), began, "another manifest", body == image.manifest)
        told = response.headers.get("Docker-Content-Digest")
        if told not in (None, image.digest):
            self.witness.complain(f"{self.name}: {image.repository}:{reference}: digest {told}")


def pull(address, image):
    """Pulls an image when nothing is in its way: what is wrong with it, or None."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        for path, digest in [("manifests/1", image.digest), *[(f"blobs/{b.digest}", b.digest) for b in image.blobs]]:
            connection.request("GET", f"/v2/{ECR}/{image.repository}/{path}", headers={"Accept": ACCEPT})
            response = connection.getresponse()
            body = response.read()
            if response.status != 200 or digest_of(body) != digest:
                return f"{image.repository}/{path}: {response.status}, {len(body)} bytes of {digest_of(body)} {body[:200]!r}"
    except BREAKS as error:
        return f"{image.repository}: {error!r}"
    finally:
        connection.close()
    return None


class Faults(Actor):
    """The upstream breaks in one way for a moment, then is well for a moment."""

    def __init__(self, seed, over, fake, images, witness):
        super().__init__("faults", seed, over)
        self.fake, self.witness = fake, witness
        self.blobs = [blob for image in images for blob in image.blobs if len(blob.data) > KIB]

    def act(self):
        draw = self.random
        blob = draw.choice(self.blobs)
        at = draw.randrange(len(blob.data))
        storage, registry = {"listener": "s3"}, {"listener": "registry"}
        error = {"set_header": ["Content-Type", "application/json"]}
        kinds = [
            ("reset", storage, [{"reset_after": draw.randrange(2_000_000)}]),
            ("short", storage, [{"fin_after": draw.randrange(2_000_000)}]),
            ("stall", storage, [{"stall_after": [draw.randrange(1_000_000), draw.randrange(500, 6000)]}]),
            ("slow", storage, [{"bytes_per_second": draw.randrange(300_000, 4_000_000)}]),
            ("storage 503", storage, [{"status": 503}]),
            ("registry 503", registry, [{"status": 503}, error, {"body": "{\"errors\":[]}"}]),
            ("registry 429", registry, [{"status": 429}, {"set_header": ["Retry-After", "1"]}, error,
                                        {"body": "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"slower\"}]}"}]),
            ("expired", storage, ["expire_urls"]),
            ("latency", {}, [{"delay_ms": draw.randrange(10, 900)}]),
            ("no answer", registry, ["close_before_response"]),
            ("no TLS", storage, ["tls_abort"]),
            ("chunked", storage, ["chunked"]),
        ]
        wrong = {"listener": "s3", "method": "GET", "digest": blob.digest, "nth_from": 1, "nth_to": 1}
        spoils = [("flipped byte", wrong, [{"flip_byte": at}]), ("swapped body", wrong, ["swap_body"])]
        name, rule, actions = draw.choice(kinds + 2 * spoils)
        if rule is not wrong:
            rule = {**rule, "chance": [draw.uniform(0.2, 1), draw.randrange(1 << 30)]}
        is_spoilt = rule is wrong
        if is_spoilt:
            self.witness.unproven.append((blob.digest, time.monotonic() + PATIENCE))
        rule = self.fake.ask("POST", "/faults", {**rule, "actions": actions})["id"]
        self.witness.count(f"fault: {name}")
        self.pause(0.5, 3)
        if is_spoilt:
            hits = next(fault["hits"] for fault in self.fake.ask("GET", "/faults") if fault["id"] == rule)
            self.witness.spoiled += [blob] * hits
        self.fake.ask("DELETE", "/faults")
        self.pause(0, 2)


class Damage(Actor):
    """Flips a byte of a cached file, as somebody or as a rotting disk does, cuts it, or takes it away."""

    def __init__(self, seed, over, daemon, images, witness, kinds):
        super().__init__("damage", seed, over)
        self.proxy, self.witness, self.kinds = daemon, witness, kinds
        self.digests = [blob.digest for image in images for blob in [image.as_blob(), *image.blobs]]

    def act(self):
        self.pause(1, 4)
        kind, at = self.random.choice(self.kinds), self.random.random()
        order = self.random.sample(self.digests, len(self.digests))
        digest = next((digest for digest in order if self.proxy.content(digest).exists()), "")
        path = self.proxy.content(digest)
        where = self.random.random()
        if kind == "deletions" and where < 0.3:
            self.lose()
            return
        if where < 0.2 and kind != "rot":
            # A record: what is known of a tag or a manifest.
            records = sorted(path for path in self.proxy.records().rglob("*") if path.is_file())
            path, digest = (self.random.choice(records), "") if records else (path, digest)
        entry = [digest, time.monotonic(), float("inf")]
        self.witness.flips.append(entry)
        try:
            harm(path, kind, at)
            self.witness.count(f"damage: {kind} of {'content' if digest else 'records'}")
        except (FileNotFoundError, IsADirectoryError, IndexError):
            pass  # it was evicted, or cut to nothing, a moment ago
        finally:
            entry[2] = time.monotonic() + (SEEN_WITHIN if kind == "rot" else 0)

    def lose(self):
        """Takes a download away while it is under way."""
        staged = sorted(path for path in self.proxy.staging().glob("*") if len(path.name) == 64)
        if staged:
            path = self.random.choice(staged)
            path.unlink(missing_ok=True)
            self.witness.lost.append(f"sha256:{path.name}")
            self.witness.count("damage: deletions of downloads")


def harm(path, kind, at):
    """At this part of its length."""
    about = path.stat()
    place = int(at * about.st_size)
    if kind == "deletions":
        path.unlink()
    elif kind == "truncations":
        os.truncate(path, place)
    else:
        with open(path, "r+b", buffering=0) as file:
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 0xFF]))
            if kind == "rot":
                os.utime(file.fileno(), ns=(about.st_atime_ns, about.st_mtime_ns))


class Kills(Actor):
    """Kills the daemon, or ends it in order, and starts it again on the same folder."""

    def __init__(self, seed, over, daemon, fake, witness):
        super().__init__("kills", seed, over)
        self.proxy, self.fake, self.witness = daemon, fake, witness

    def act(self):
        self.pause(8, 25)
        if not self.over.is_set():
            with self.proxy.turn:
                self.witness.cut |= {request["id"] for request in self.fake.running() if request["listener"] == "s3"}
                if self.random.random() < 0.7:
                    self.proxy.kill()
                    self.witness.count("kills")
                else:
                    code = self.proxy.stop()
                    self.witness.count("stops in order")
                    if code != 0:
                        self.witness.complain(f"told to end, the daemon ended with {code}")
                self.proxy.start()


class Watch(Actor):
    """Counts how often each blob came into the cache: every new file at its place is one fill."""

    def __init__(self, over, daemon, images):
        super().__init__("watch", 0, over)
        self.blobs = {blob.digest: blob for image in images for blob in image.blobs}
        self.paths = {digest: daemon.content(digest) for digest in self.blobs}
        self.last, self.fills = dict.fromkeys(self.paths), Counter()

    def act(self):
        for digest, path in self.paths.items():
            try:
                inode = os.stat(path).st_ino
            except OSError:
                inode = None
            if inode is not None and inode != self.last[digest]:
                self.fills[digest] += 1
            self.last[digest] = inode
        self.pause(0.01, 0.01)
