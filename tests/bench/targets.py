"""The rows with targets, (a) to (f): each measured in turns with what it is compared with.

Every section has a share of the time; when that is used up, it ends with the rounds it has. Never judges.
"""

import hashlib
import http.client
import os
import time
from pathlib import Path

import tree
from goals import Goal, OURS
from pair import Failed, until
from proxies import Longshore, Upstream
from servers import Client, Memory, PREFIX, Server, far_origin, near_origin, nginx

STATE = Path(os.environ["STATE"])
BIG = 256 * tree.MIB
NEAR, ON, OFF, LINE, FAR = (f"127.0.0.1:{port}" for port in range(5030, 5035))
# a company's gigabit line; and a line whose every connection is slow and far away
LINE_RATE, CONNECTION_RATE, ROUND_TRIP_MS = 125_000_000, 25_000_000, 20
CROWD, READERS, AT_ONCE = 16, 64, 3
REGISTRY = "docker-registry"
HEAD_BYTE = 3


class World:
    """The tree, the servers with it, and a Longshore that has all of it."""

    def __init__(self, programs, goals):
        self.programs, self.goals = programs, goals
        self.client = Client(programs["bench-client"])
        root = STATE / "tree"
        self.warm = tree.plant(root, "bench/warm", [BIG, *[1000] * 6])
        self.far = tree.plant(root, "bench/far", [400 * tree.MIB, *[20 * tree.MIB] * 6])
        self.big = self.warm.layers[0]
        self.near = near_origin(STATE, NEAR)
        origin = programs["bench-origin"]
        self.line = far_origin(STATE, origin, "line", LINE, total_rate=LINE_RATE)
        self.slow = far_origin(STATE, origin, "slow", FAR, connection_rate=CONNECTION_RATE, round_trip_ms=ROUND_TRIP_MS)

    def daemon(self, upstream, cache="", name="cold"):
        return Longshore(self.programs["longshore"], upstream, STATE / name, cache)

    def fetch(self, address, prefix, *options, blob=None):
        return self.client("fetch", *options, address, tree.path(self.warm, blob or self.big, prefix))


def rounds(most, seconds):
    """Numbers of rounds, at least one, until the time is over."""
    end = time.monotonic() + seconds
    for number in range(most):
        if number > 0 and time.monotonic() > end:
            return
        yield number


def warm_servers(world, upstream):
    """Ours, with everything cached, and those beside it; ours first."""
    ours = world.daemon(upstream, 'revalidate = "1h"', "warm")
    ours.start()
    world.fetch(ours.address, PREFIX, "--verify")
    ours.settle(world.warm, [world.big])
    # From here on the tag is believed for an hour.
    for what in ("1", world.warm.digest):
        world.client("ask", "--seconds", 0.1, ours.address, tree.manifest_path(world.warm, what, PREFIX))
    registry = Server(REGISTRY, os.environ["UPSTREAM"], Pid(int(os.environ["UPSTREAM_PID"])))
    tree.push(registry.address, STATE / "tree", world.warm)
    return ours, [Server(OURS, ours.address, ours.daemon, PREFIX), nginx(STATE, "on", ON), nginx(STATE, "off", OFF, "off"),
                  registry]


class Pid:
    def __init__(self, pid):
        self.pid = pid


def warm_blob(world, servers, most, seconds):
    section = "(a) warm blob of 256 MiB"
    for number in rounds(most + 1, seconds):
        for server in servers:
            for connections, repeat in ((1, 6), (8, 24)):
                before = server.cpu()
                seen = world.fetch(server.address, server.prefix, "--connections", connections, "--repeat", repeat)
                cpu = server.cpu() - before
                if seen["bytes"] != repeat * BIG:
                    raise Failed(f"{server.name}: {seen['bytes']} bytes for {repeat} times {BIG}")
                if number == 0 and most > 1:
                    continue  # warms up
                shape = f"{connections} connection{'s' if connections > 1 else ''}"
                goal = Goal("ratio", least=0.85) if connections > 1 else None
                world.goals.add(section, f"throughput, {shape}", "GB/s", server.name, seen["bytes"] / seen["seconds"], goal)
                world.goals.add(section, f"CPU, {shape}", "s/GB", server.name, cpu / seen["bytes"], Goal("ratio", most=1.3))


def manifests(world, servers, most, seconds):
    """In the revalidate window, over connections that stay."""
    section = "(b) manifest, 16 connections"
    asks = (("GET by digest", "GET", world.warm.digest), ("HEAD by tag", "HEAD", "1"), ("GET by tag", "GET", "1"))
    for _ in rounds(most, seconds):
        for what, method, reference in asks:
            for server in servers:
                if server.name.endswith("off"):
                    continue
                url = tree.manifest_path(world.warm, reference, server.prefix)
                seen = world.client("ask", "--method", method, "--seconds", 1.5, server.address, url)
                rate = seen["answers"] / seen["seconds"]
                world.goals.add(section, what, "/s", server.name, rate, Goal("ratio", least=0.8))


def hash_alone(world):
    """Seconds of CPU a byte that the digest of the blob costs here."""
    data = (STATE / "tree" / tree.path(world.warm, world.big).lstrip("/")).read_bytes()
    before = time.process_time()
    hashlib.sha256(data).hexdigest()
    return (time.process_time() - before) / len(data)


def cold_blob(world, most, seconds):
    origins = (("an unlimited origin", world.near, 3), ("an origin of 125 MB/s", world.line, 1.05))
    for name, origin, slower in origins:
        section = f"(c) cold blob of 256 MiB, {name}"
        for number in rounds(most, seconds / len(origins)):
            direct = world.fetch(origin.address, "")
            proxy = world.daemon(origin)
            proxy.start()
            before = proxy.daemon.cpu()
            seen = world.fetch(proxy.address, PREFIX, *(["--verify"] if number == 0 and most > 1 else []))
            proxy.settle(world.warm, [world.big])
            cpu = proxy.daemon.cpu() - before
            proxy.stop()
            if number == 0 and most > 1:
                continue  # the first one was read to compare its digest
            for who, what in ((OURS, seen), ("direct", direct)):
                world.goals.add(section, "whole", "ms", who, what["seconds"], Goal("ratio", most=slower))
                world.goals.add(section, "first byte", "ms", who, what["waited"][0], Goal("difference", most=HEAD_BYTE))
            world.goals.add(section, "CPU", "s/GB", OURS, cpu / BIG, Goal("figure", most=1.0))
            world.goals.add(section, "CPU", "s/GB", "sha256 alone", hash_alone(world))


def crowd(world, most, seconds):
    origins = (("an unlimited origin", world.near), ("an origin of 125 MB/s", world.line))
    for name, origin in origins:
        section = f"(d) {CROWD} clients at once, one cold blob of 256 MiB, {name}"
        for _ in rounds(most, seconds / len(origins)):
            proxy = world.daemon(origin)
            proxy.start()
            mark = origin.mark()
            seen = world.fetch(proxy.address, PREFIX, "--connections", CROWD, "--repeat", CROWD)
            proxy.settle(world.warm, [world.big])
            proxy.stop()
            until("the origin's log", lambda: origin.logged(mark, [world.big]))
            size = sum(size for method, _, _, size in origin.requests(mark) if method == "GET")
            first = seen["first_byte"]
            world.goals.add(section, "upstream bytes, times its size", "x", OURS, size / BIG, Goal("figure", most=1.0))
            world.goals.add(section, "last first byte behind the first", "ms", OURS, max(first) - min(first),
                            Goal("figure", most=10))
            world.goals.add(section, "slowest whole", "ms", OURS, seen["seconds"])


def far_image(world, most, seconds):
    """Three layers at a time, as dockerd pulls; by hand, the large one in eight ranges."""
    section = "(e) image of 400 MiB + 6 x 20 MiB, 25 MB/s a connection, 20 ms away"
    direct = world.slow.address
    for _ in rounds(most, seconds):
        proxy = world.daemon(world.slow)
        proxy.start()
        ours = pull(world, proxy.address, PREFIX)
        proxy.settle(world.far, world.far.layers)
        proxy.stop()
        goal = Goal("ratio", most=0.25)
        world.goals.add(section, "three layers at a time", "s", OURS, ours, goal)
        world.goals.add(section, "three layers at a time", "s", "direct", pull(world, direct, ""))
        by_hand = pull(world, direct, "", "--split", 8, "--split-above", 32 * tree.MIB)
        world.goals.add(section, "three layers at a time", "s", "eight ranges by hand", by_hand)


def pull(world, address, prefix, *options):
    started = time.perf_counter()
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("GET", tree.manifest_path(world.far, "1", prefix), headers={"Accept": tree.MANIFEST})
    if hashlib.sha256(connection.getresponse().read()).hexdigest() != world.far.digest.removeprefix("sha256:"):
        raise Failed("another manifest came")
    connection.close()
    paths = [tree.path(world.far, layer, prefix) for layer in world.far.layers]
    seen = world.client("fetch", "--connections", AT_ONCE, *options, address, *paths)
    if seen["bytes"] != sum(layer.size for layer in world.far.layers):
        raise Failed(f"{seen['bytes']} bytes came of the image")
    return time.perf_counter() - started


def slow_readers(world, most, seconds):
    section = f"(f) {READERS} slow readers of one cold blob of 256 MiB"
    for _ in rounds(most, seconds):
        proxy = world.daemon(world.near)
        proxy.start()
        with Memory(proxy.daemon.pid) as memory:
            seen = world.client("slow", "--connections", READERS, "--rate", tree.MIB, "--seconds", 6, proxy.address,
                                tree.path(world.warm, world.big, PREFIX))
        if seen["least"] < tree.MIB:
            raise Failed(f"a slow reader got only {seen['least']} bytes")
        proxy.stop()
        world.goals.add(section, "peak RSS", "MiB", OURS, memory.most["VmHWM"], Goal("figure", most=32))
        world.goals.add(section, "of it its own memory, at most", "MiB", OURS, memory.most["RssAnon"])
        world.goals.add(section, "of it files it has mapped, at most", "MiB", OURS, memory.most["RssFile"])


def steps(programs, goals, runs):
    """(name, what to call): the bench calls them in this order."""
    made = []

    def world():
        if not made:
            made.append(World(programs, goals))
        return made[0]

    def warm():
        ours, servers = warm_servers(world(), world().near)
        try:
            warm_blob(world(), servers, runs, 80)
            manifests(world(), servers, max(runs // 2, 1), 45)
        finally:
            ours.stop()

    few = max(runs // 2, 1)
    return [("a b", warm), ("c", lambda: cold_blob(world(), runs + 1, 70)), ("d", lambda: crowd(world(), few, 40)),
            ("e", lambda: far_image(world(), 2, 25)), ("f", lambda: slow_readers(world(), few, 20))]
