"""The servers that the targets are measured against, the origins behind the daemon, and the client that loads them.

Each is a process of its own in the bench's namespaces. Never judges, never measures by itself.
"""

import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pair import Daemon, Failed, Program, until
from proxies import Longshore, Upstream

NGINX = "/usr/sbin/nginx"
PREFIX = Longshore.prefix


class Client:
    """tests/bench/client: what it prints, as a dictionary."""

    def __init__(self, program):
        self.program = program

    def __call__(self, task, *arguments):
        command = [self.program, task, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
        return json.loads(done.stdout)


@dataclass
class Server:
    """Something that serves: its name in the table, and how a path of the tree is asked of it."""

    name: str
    address: str
    daemon: Daemon
    prefix: str = ""

    def cpu(self):
        """Seconds of CPU so far, of the process and its children."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in family(self.daemon.pid))


def family(pid):
    """The process and all below it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").iterdir():
            try:
                found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
            except FileNotFoundError:
                pass  # a thread that ended meanwhile
    return found


def nginx(state, name, address, sendfile="on", log=None):
    """Debian's nginx, two workers; serves the tree, with the types a registry gives.

    Without Debian's tcp_nopush: over loopback, sendfile costs nearly twice as much with it.
    """
    access = "off" if log is None else f"{log} bench"
    config = state / f"nginx.{name}.conf"
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    config.write_text(f"""
daemon off; user root; worker_processes 2; pid {state}/nginx.{name}.pid; error_log {state}/log/nginx.{name};
events {{ worker_connections 768; }}
http {{
    log_format bench '"$request" $status $body_bytes_sent';
    access_log {access};
    sendfile {sendfile}; keepalive_requests 100000000; default_type application/octet-stream;
    server {{
        listen {address};
        root {state}/tree;
        location = /v2/ {{ return 200; }}
        location ~ ^/v2/.*/manifests/(sha256:.*)$ {{ default_type {kind}; add_header Docker-Content-Digest $1; }}
        location ~ ^/v2/.*/manifests/ {{ default_type {kind}; }}
    }}
}}
""")
    program = Program([NGINX, "-c", str(config)], {"PATH": os.environ["PATH"]}, stdout=f"{state}/log/nginx.{name}.out")
    return started(Server(f"nginx, sendfile {sendfile}", address, Daemon(program)))


def far_origin(state, program, name, address, **limits):
    """tests/bench/origin.rs and, as an upstream, its log."""
    log = state / "log" / f"origin.{name}"
    options = [part for key, value in limits.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    argv = [program, "--listen", address, "--root", str(state / "tree"), *options]
    started(Server(name, address, Daemon(Program(argv, {}, stdout=str(log)))))
    return Upstream(address, log)


def near_origin(state, address):
    """nginx without a limit and, as an upstream, its log."""
    log = state / "log" / "origin.near"
    log.touch()
    nginx(state, "origin", address, log=log)
    return Upstream(address, log)


def started(server):
    server.daemon.start()
    port = f":{int(server.address.rpartition(':')[2]):04X}"

    def listens():
        if not server.daemon.alive():
            raise Failed(f"{server.name} does not start")
        with open("/proc/net/tcp", encoding="ascii") as file:
            return any(line.split()[1].endswith(port) and line.split()[3] == "0A" for line in list(file)[1:])

    until(f"{server.name} to listen", listens)
    return server


class Memory:
    """The most that a process had while it was watched; the kernel's own peak beside it."""

    KEYS = ("VmHWM", "RssAnon", "RssFile")

    def __init__(self, pid):
        self.pid, self.most, self.over = pid, dict.fromkeys(self.KEYS, 0), threading.Event()
        self.watch = threading.Thread(target=self.look, daemon=True)

    def __enter__(self):
        self.watch.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.watch.join()

    def look(self):
        while not self.over.wait(0.02):
            with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
                for line in file:
                    key, _, value = line.partition(":")
                    if key in self.most:
                        self.most[key] = max(self.most[key], int(value.split()[0]) * 1024)
