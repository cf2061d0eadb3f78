"""The rows of the benchmark, measured in the world that inside.sh built, and the table of them.

Ends with an error when a run fails, behind the rows it has by then. A figure is never a reason to fail.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import targets
from goals import Goals
from pair import OURS, RIVAL, Failed, Program, Results, once, peak, until
from proxies import DockerRegistry, Longshore, Upstream
from pull import crowd, pull, read
from table import plain, text

STATE = Path(os.environ["STATE"])
BIN_DIR = Path(os.environ["BIN_DIR"])
RUNS = int(os.environ["RUNS"])
# names of sections: helper pull a b c d e f
ONLY = os.environ["ONLY"].split()
# The bench ends by itself; what it has by then is printed.
LONGEST = 570
# A get takes milliseconds, so more of them are taken.
HELPER_RUNS = 5 * RUNS
CONTROL = os.environ["CONTROL"]
ECR = os.environ["ECR"]
HELPERS = {OURS: BIN_DIR / "docker-credential-longshore", RIVAL: Path(shutil.which("docker-credential-ecr-login"))}
DAEMONS = {OURS: BIN_DIR / "longshore", RIVAL: Path(shutil.which("docker-registry"))}
CROWD = 8
MIB = 1024 * 1024


def control(method):
    with urllib.request.urlopen(urllib.request.Request(CONTROL + "/requests", method=method)) as response:
        return json.load(response)


def helper(side, verb, trust):
    """The helper with a home of its own. Static credentials in the environment: nothing but ECR is asked."""
    home = STATE / "home" / side
    home.mkdir(parents=True, exist_ok=True)
    request = STATE / "home" / "request"
    request.write_text(ECR)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
           "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", **trust}
    return Program([str(HELPERS[side]), verb], env, str(request), str(STATE / "log" / f"helper.{side}"))


def forget_token(side):
    """Removes the token; the folders stay, as on a machine whose token has expired."""
    home = STATE / "home" / side
    for path in [home / ".ecr/cache.json", *home.glob(".cache/longshore/tokens/*")]:
        path.unlink(missing_ok=True)


def helper_rows(results, section, verb, cold=False, trust=None):
    programs = {side: helper(side, verb, trust or {}) for side in HELPERS}

    def measure(side, first):
        if cold:
            forget_token(side)
        control("DELETE")
        wall, cpu = once(programs[side])
        calls = sum(request["listener"] == "api" for request in control("GET"))
        answer = Path(programs[side].stdout).read_text(encoding="utf-8")
        if verb == "get" and (json.loads(answer)["Username"] != "AWS" or (not first and calls != int(cold))):
            raise Failed(f"{side}: {calls} API calls in a {'cold' if cold else 'warm'} get")
        if cold:
            forget_token(side)
        figures = {("wall", "ms"): wall, ("CPU", "ms"): cpu, ("peak RSS", "MiB"): peak(programs[side])}
        return figures if verb != "get" else figures | {("calls of the ECR API", ""): calls}

    results.pairs(section, HELPER_RUNS, measure)


def upstream_figures(prefix, requests, whole):
    size = sum(size for method, _, _, size in requests if method == "GET")
    return {
        (f"{prefix}requests upstream", ""): len(requests),
        (f"{prefix}bytes upstream, times its size", "x"): size / whole,
    }


def pull_rows(results, section, proxies, image):
    def measure(side, first):
        proxy = proxies[side]
        proxy.start()
        upstream, daemon = proxy.upstream, proxy.daemon
        cold_mark, before = upstream.mark(), daemon.cpu()
        cold = pull(proxy.address, proxy.prefix, image, first)
        proxy.settle(image, image.blobs)
        cold_cpu = daemon.cpu() - before
        until("the upstream's log", lambda: upstream.logged(cold_mark, image.blobs))
        warm_mark, before = upstream.mark(), daemon.cpu()
        warm = pull(proxy.address, proxy.prefix, image, first)
        warm_cpu, memory = daemon.cpu() - before, daemon.peak()
        proxy.stop()
        return {
            ("cold: wall", "ms"): cold,
            ("cold: CPU of the proxy", "ms"): cold_cpu,
            **upstream_figures("cold: ", upstream.requests(cold_mark, warm_mark), image.bytes),
            ("warm: wall", "ms"): warm,
            ("warm: CPU of the proxy", "ms"): warm_cpu,
            ("warm: requests upstream", ""): len(upstream.requests(warm_mark)),
            ("peak RSS of the proxy", "MiB"): memory,
        }

    results.pairs(section, RUNS, measure)


def crowd_rows(results, section, proxies, image):
    def measure(side, first):
        proxy = proxies[side]
        proxy.start()
        mark, before = proxy.upstream.mark(), proxy.daemon.cpu()
        wall, first_byte = crowd(proxy.address, proxy.prefix, image, CROWD, first)
        proxy.settle(image, image.layers)
        cpu, memory = proxy.daemon.cpu() - before, proxy.daemon.peak()
        proxy.stop()
        return {
            ("wall until the last has all", "ms"): wall,
            ("slowest first byte", "ms"): first_byte,
            ("CPU of the proxy", "ms"): cpu,
            **upstream_figures("", proxy.upstream.requests(mark), image.layers[0].size),
            ("peak RSS of the proxy", "MiB"): memory,
        }

    results.pairs(section, RUNS, measure)


def size_rows(results):
    for what, programs in (("credential helper", HELPERS), ("daemon", DAEMONS)):
        for side, program in programs.items():
            results.add("program files", side, {(what, "MiB"): program.stat().st_size})


def said_by(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def about():
    """What somebody needs to know who compares two tables."""
    packages = [said_by("dpkg-query", "-W", name) for name in ("amazon-ecr-credential-helper", "docker-registry")]
    return {
        "longshore": said_by(str(DAEMONS[OURS]), "--version"),
        "rivals": ", ".join(package.replace("\t", " ") for package in packages),
        "kernel": os.uname().release,
        "cores": len(os.sched_getaffinity(0)),
        "load before": round(os.getloadavg()[0], 1),
        "caches on": said_by("findmnt", "-n", "-o", "FSTYPE", "-T", str(STATE)),
        "pairs": f"{RUNS} of pulls, {HELPER_RUNS} of credential helpers",
    }


def direct(address, image):
    """The same pull without a proxy."""
    return [pull(address, "", image, first == 0) for first in range(RUNS + 1)][1:]


def pair_steps(results, facts):
    upstream = Upstream(os.environ["UPSTREAM"], os.environ["UPSTREAM_LOG"])
    proxies = {OURS: Longshore(str(DAEMONS[OURS]), upstream, STATE),
               RIVAL: DockerRegistry(str(DAEMONS[RIVAL]), upstream, STATE)}
    large, wide, one = (read(upstream.address, f"bench/{name}") for name in ("large", "wide", "one"))
    only_ours = {"SSL_CERT_FILE": str(STATE / "tls/ca.pem"), "SSL_CERT_DIR": str(STATE / "no-certificates")}

    def floors():
        facts["without a proxy, s"] = {image.repository: direct(upstream.address, image) for image in (large, wide)}

    return [
        ("helper", lambda: helper_rows(results, "helper version: the least a process costs", "version")),
        ("helper", lambda: helper_rows(results, "helper get, warm: a token on disk", "get")),
        ("helper", lambda: helper_rows(results, "helper get, cold: the machine's trust store", "get", cold=True)),
        ("helper", lambda: helper_rows(results, "helper get, cold: one trusted authority", "get", cold=True, trust=only_ours)),
        ("pull", lambda: pull_rows(results, "pull of 4 layers of 16 MiB", proxies, large)),
        ("pull", lambda: pull_rows(results, "pull of 20 layers of 1 MiB", proxies, wide)),
        ("pull", lambda: crowd_rows(results, f"{CROWD} clients at once, one cold blob of 64 MiB", proxies, one)),
        ("pull", floors),
        ("helper", lambda: size_rows(results)),
    ]


def measure_all(results, goals, facts):
    programs = {name: os.environ[name.upper().replace("-", "_")] for name in ("bench-client", "bench-origin")}
    programs["longshore"] = str(DAEMONS[OURS])
    steps = targets.steps(programs, goals, RUNS) + pair_steps(results, facts)
    steps = [(name, step) for name, step in steps if set(name.split()) & set(ONLY)]
    end = time.monotonic() + LONGEST
    for done, (name, step) in enumerate(steps, start=1):
        if time.monotonic() > end:
            facts["not measured, the time was over"] = ", ".join(name for name, _ in steps[done - 1:])
            return
        step()
        print(f"measured {done} of {len(steps)}: {name}", file=sys.stderr, flush=True)
    facts["load after"] = round(os.getloadavg()[0], 1)


def too_long(*_):
    raise Failed(f"a section did not end within {LONGEST} s of the start and is left out")


def main():
    results, goals, failure = Results(), Goals(), None
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LONGEST)
    try:
        facts = about()
        measure_all(results, goals, facts)
    except (Failed, OSError, subprocess.CalledProcessError) as error:
        failure = f"bench.py: {error}"
    signal.alarm(0)
    if failure is not None and not goals.rows and not results.rows:
        print(failure, file=sys.stderr)
        return 1
    print(text(results, goals, facts))
    (STATE / "result.json").write_text(json.dumps(plain(results, goals, facts), indent=1) + "\n")
    if failure is not None:
        print(failure, file=sys.stderr)
    return 0 if failure is None else 1


sys.exit(main())
