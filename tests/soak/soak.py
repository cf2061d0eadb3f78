"""The soak: random clients, faults, damage and kills for some minutes, then quiet, then the questions.

Was every whole answer right; were not more bytes fetched than needed; is nothing left over; does the daemon's own account of
the disk agree with du. Ends with exit code 1 and the seed when one of them is answered by no.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from actors import SEEN_WITHIN, Client, Damage, Faults, Kills, Watch, Witness, pull
from world import Broken, Daemon, Fake, MIB, taken

CLIENTS = 10
KINDS = ["flips", "rot", "truncations", "deletions"]
# How long the daemon may take to put everything in order once nobody asks.
IDLE = 60
# What a kill may cost of each answer that was on its way: sockets' buffers, and what no journal knew of yet.
ON_ITS_WAY = 2 * MIB


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--longshore", required=True)
    parser.add_argument("--fake-ecr", required=True)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--without", type=lambda text: text.split(","), default=[])
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


class Soak:
    def __init__(self, given, state):
        self.given, self.state, self.failed = given, state, False
        self.fake = Fake(given.fake_ecr, state, given.seed)
        self.images = self.fake.truth()
        self.daemon = Daemon(given.longshore, state, self.fake, given.seed)
        self.witness, self.over, self.closed = Witness(), threading.Event(), threading.Event()
        self.watch = Watch(self.closed, self.daemon, self.images)

    def run(self):
        self.daemon.start()
        self.watch.start()
        actors = self.actors()
        for actor in actors:
            actor.start()
        end = time.monotonic() + 60 * self.given.minutes
        while time.monotonic() < end and not any(actor.failure for actor in actors):
            with self.daemon.turn:
                if self.daemon.died():
                    self.answer("the daemon lives", False, self.daemon.last_words()[-2000:])
                    break
            time.sleep(0.2)
        self.over.set()
        for actor in actors:
            actor.join(timeout=90)
            if actor.failure is not None or actor.is_alive():
                raise Broken(f"{actor.name}: {actor.failure!r}")
        self.fake.ask("DELETE", "/faults")
        self.quiet()
        self.questions()

    def actors(self):
        seed, without = self.given.seed, self.given.without
        kinds = [kind for kind in KINDS if kind not in without]
        actors = [Client(number, seed, self.over, self.daemon.address, self.images, self.witness) for number in range(CLIENTS)]
        if "faults" not in without:
            actors.append(Faults(seed, self.over, self.fake, self.images, self.witness))
        if kinds:
            actors.append(Damage(seed, self.over, self.daemon, self.images, self.witness, kinds))
        if "kills" not in without:
            actors.append(Kills(seed, self.over, self.daemon, self.fake, self.witness))
        return actors

    def quiet(self):
        """Everything is well again: each image is pulled once, and the daemon left alone."""
        # A breaker or a Retry-After may stand for a moment, and what rotted be seen after one.
        deadline = time.monotonic() + IDLE
        for image in self.images:
            while (wrong := pull(self.daemon.address, image)) and time.monotonic() < deadline:
                time.sleep(1)
            self.answer(f"{image.repository} is pulled when everything is well again", wrong is None, wrong)
        deadline = time.monotonic() + IDLE
        while (self.staged() or self.fetching()) and time.monotonic() < deadline:
            time.sleep(0.2)
        deadline = time.monotonic() + SEEN_WITHIN
        while self.daemon.wrong_content() and time.monotonic() < deadline:
            time.sleep(0.2)

    def staged(self):
        return sorted(path for path in (self.daemon.staging()).rglob("*") if not path.is_dir())

    def fetching(self):
        return any(request["listener"] == "s3" for request in self.fake.running())

    def questions(self):
        counts = self.witness.counts
        print("\n".join(f"  {what}: {count}" for what, count in sorted(counts.items())))
        for wrong in self.witness.wrong[:20]:
            print(f"  WRONG {wrong}")
        whole = sum(count for what, count in counts.items() if what.endswith("whole"))
        self.answer(f"every one of {whole} whole answers was right, and nobody waited in vain", not self.witness.wrong,
                    f"{len(self.witness.wrong)} complaints")
        said = self.daemon.log.read_text(errors="replace")
        self.answer("the daemon never panicked", "panicked" not in said)
        wrong = self.daemon.wrong_content()
        self.answer("all content is what its name says", not wrong, ", ".join(wrong))
        left = self.staged()
        self.answer("nothing is left in staging/", not left, ", ".join(path.name for path in left[:10]))
        self.closed.set()
        self.watch.join()
        self.bytes_upstream()
        self.account()

    def bytes_upstream(self):
        """Needed: the size of a blob for each time it came into the cache anew (evicted, damaged, or for the first time: a new
        file at its place); its size for each time its bytes were sent wrong; and of each answer that a kill cut at most
        what may not have reached the disk."""
        requests, stats = self.fake.ask("GET", "/requests"), self.fake.ask("GET", "/stats")
        fills = sum(len(self.watch.blobs[digest].data) * times for digest, times in self.watch.fills.items())
        spoiled = sum(len(blob.data) for blob in self.witness.spoiled)
        lost = sum(len(self.watch.blobs[digest].data) for digest in self.witness.lost if digest in self.watch.blobs)
        cut = sum(min(one["bytes_sent"], ON_ITS_WAY) for one in requests if one["id"] in self.witness.cut)
        sent, needed = sum(stats["s3_bytes"].values()), fills + spoiled + lost + cut
        distinct = sum(len(self.watch.blobs[digest].data) for digest in self.watch.fills)
        print(f"  upstream sent {sent / MIB:.1f} MiB in {sum(stats['s3_gets'].values())} answers; needed {needed / MIB:.1f}: "
              f"{fills / MIB:.1f} for {self.watch.fills.total()} fills of {len(self.watch.fills)} blobs "
              f"({distinct / MIB:.1f} once each), {spoiled / MIB:.1f} for {len(self.witness.spoiled)} that came wrong, "
              f"{lost / MIB:.1f} for {len(self.witness.lost)} that were taken away, "
              f"{cut / MIB:.1f} of {len(self.witness.cut)} answers that kills cut")
        self.answer("upstream bytes are at most 1.1 of what was needed", sent <= 1.1 * needed, f"{sent / needed:.3f}")
        print(f"  ratio {sent / needed:.3f}")

    def account(self):
        """The daemon's own figure: while it runs, and as it says it when it starts after a kill."""
        running = self.daemon.usage()
        if running is None:
            print("  there is no longshore cache du")
        else:
            self.agree("the running daemon's account", running)
        self.daemon.kill()
        self.agree("the account after a kill", self.daemon.start())
        code = self.daemon.stop()
        self.answer("the daemon ends in order when told to", code == 0, f"exit code {code}")

    def agree(self, what, told):
        real = taken(self.daemon.cache)
        print(f"  {what}: {told} bytes, du {real}: {100 * (told / real - 1):+.2f} %")
        self.answer(f"{what} is that of du within 1 %", abs(told - real) <= 0.01 * real)

    def answer(self, what, good, why=""):
        self.failed |= not good
        print(f"{'ok  ' if good else 'FAIL'} {what}{'' if good or not why else f': {why}'}", flush=True)

    def end(self):
        self.closed.set()
        self.over.set()
        if self.daemon.process is not None and not self.daemon.died():
            self.daemon.kill()
        self.fake.stop()


def main():
    given = arguments()
    state = Path(tempfile.mkdtemp(prefix="soak."))
    print(f"soak of {given.minutes:g} minutes, seed {given.seed}", flush=True)
    soak, failed = None, True
    try:
        soak = Soak(given, state)
        soak.run()
        failed = soak.failed
    except Broken as broken:
        print(f"FAIL the soak is broken: {broken}")
    finally:
        if soak is not None:
            soak.end()
        if failed or given.keep:
            print(f"seed {given.seed}; logs are in {state}")
        else:
            shutil.rmtree(state)
    return 1 if failed else 0


sys.exit(main())
