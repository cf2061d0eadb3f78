"""Starts processes, measures each from outside, and keeps what two rivals took in turns: A B A B.

Wall time and CPU come from the kernel's own account of one process (wait4). Never looks at what a program does.
"""

import os
import signal
import statistics
import time
from dataclasses import dataclass, field, replace

OURS, RIVAL = "longshore", "rival"
GNU_TIME = "/usr/bin/time"


class Failed(Exception):
    """A run that did not do what it had to: its figures are worth nothing."""


@dataclass
class Program:
    """How a process is started; its input and its output are files."""

    argv: list
    env: dict
    stdin: str = os.devnull
    stdout: str = os.devnull


def spawn(program):
    """Starts without a shell. Files, because a full pipe would make it wait for us."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, program.stdin, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, program.stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(program.argv[0], program.argv, program.env, file_actions=actions)


def once(program):
    """Runs it once: seconds of wall time, and of CPU (user and system)."""
    started = time.perf_counter()
    pid = spawn(program)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - started
    if status != 0:
        code = os.waitstatus_to_exitcode(status)
        raise Failed(f"{' '.join(program.argv)}: exit code {code}: {said(program.stdout)}")
    return wall, usage.ru_utime + usage.ru_stime


def peak(program):
    """Runs it once more: bytes of memory at its peak.

    The kernel counts what a process had before exec too, that is, what its parent had. Python is larger than the
    programs measured here, so a small parent starts them: GNU time.
    """
    report = program.stdout + ".peak"
    argv = [GNU_TIME, "-q", "-f", "%M", "-o", report, *program.argv]
    once(replace(program, argv=argv))
    with open(report, encoding="ascii") as file:
        return int(file.read().split()[-1]) * 1024


def said(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()[-500:]


@dataclass
class Daemon:
    """A process that runs until it is told to stop."""

    program: Program
    pid: int = 0

    def start(self):
        self.pid = spawn(self.program)

    def alive(self):
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def cpu(self):
        """Seconds of CPU so far, of all threads: clock_getcpuclockid(3) makes the same number."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def peak(self):
        """Bytes of memory at its peak so far."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))

    def stop(self):
        if not self.alive():
            raise Failed(f"{self.program.argv[0]} ended before it was told to: {said(self.program.stdout)}")
        os.kill(self.pid, signal.SIGTERM)
        try:
            until(f"the end of {self.program.argv[0]}", lambda: not self.alive())
        except Failed:
            os.kill(self.pid, signal.SIGKILL)
            raise
        finally:
            os.waitpid(self.pid, 0)


def until(what, condition, seconds=60):
    """Asks again and again. The pause is the interval between two looks, not a hope."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds} s in vain for {what}")
        time.sleep(0.005)


@dataclass
class Row:
    """One figure of both, run by run."""

    section: str
    what: str
    unit: str
    values: dict = field(default_factory=lambda: {OURS: [], RIVAL: []})

    def summary(self, side):
        """Median and minimum."""
        return statistics.median(self.values[side]), min(self.values[side])

    def ratio(self):
        """The median of what rival / longshore was in each pair: a slow minute slows both of a pair."""
        pairs = zip(self.values[OURS], self.values[RIVAL])
        ratios = [rival / ours for ours, rival in pairs if ours > 0]
        return statistics.median(ratios) if ratios else None


class Results:
    """All rows, in the order in which they were first seen."""

    def __init__(self):
        self.rows = {}

    def add(self, section, side, figures):
        """figures: {(what, unit): value}"""
        for (what, unit), value in figures.items():
            row = self.rows.setdefault((section, what), Row(section, what, unit))
            row.values[side].append(value)

    def pairs(self, section, runs, measure):
        """Calls measure(side) for A B A B …; the first pair warms up and is not kept."""
        for run in range(runs + 1):
            for side in (OURS, RIVAL):
                figures = measure(side, run == 0)
                if run > 0:
                    self.add(section, side, figures)
