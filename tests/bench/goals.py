"""Rows with a target: what Longshore took, what each reference took in the same rounds, and what was promised.

A ratio is the median of ours / reference in each round. Never measures.
"""

import statistics
from dataclasses import dataclass, field

SCALE = {"ms": 1000, "MiB": 1 / (1024 * 1024), "GB/s": 1e-9, "s/GB": 1e9, "s": 1, "x": 1, "/s": 1}
OURS = "longshore"
HEAD = ("what", "longshore", "reference", "ratio", "target", "")


@dataclass(frozen=True)
class Goal:
    """At most or at least so much: of the ratio to the first reference, of the difference to it, or of the figure."""

    of: str
    most: float = None
    least: float = None

    def text(self, unit):
        word, bound = ("<=", self.most) if self.least is None else (">=", self.least)
        return f"{word} {bound:g}{'x' if self.of == 'ratio' else f' {unit} more' if self.of == 'difference' else f' {unit}'}"

    def met(self, value):
        return value <= self.most if self.least is None else value >= self.least


@dataclass
class Row:
    section: str
    what: str
    unit: str
    goal: Goal = None
    values: dict = field(default_factory=dict)

    def add(self, name, value):
        self.values.setdefault(name, []).append(value * SCALE[self.unit])

    def figure(self, name):
        return statistics.median(self.values[name])

    def references(self):
        return [name for name in self.values if name != OURS]

    def ratio(self, name):
        pairs = list(zip(self.values[OURS], self.values[name]))
        ratios = [ours / other for ours, other in pairs if other > 0]
        return statistics.median(ratios) if ratios else None

    def judged(self):
        """The number that the goal is about, and whether it is met."""
        if self.goal is None:
            return None, None
        first = next(iter(self.references()), None)
        if self.goal.of == "ratio":
            value = self.ratio(first)
        elif self.goal.of == "difference":
            value = self.figure(OURS) - self.figure(first)
        else:
            value = self.figure(OURS)
        return value, value is not None and self.goal.met(round(value, 3))

    def plain(self):
        value, met = self.judged()
        return {"section": self.section, "what": self.what, "unit": self.unit, "values": self.values,
                "ratios": {name: self.ratio(name) for name in self.references()},
                "target": self.goal and self.goal.text(self.unit), "judged": value, "met": met}


class Goals:
    """All rows, in the order in which they were first seen."""

    def __init__(self):
        self.rows = {}

    def add(self, section, what, unit, name, value, goal=None):
        self.rows.setdefault((section, what), Row(section, what, unit, goal)).add(name, value)

    def plain(self):
        return [row.plain() for row in self.rows.values()]

    def text(self):
        rows = [HEAD, *self.lines()]
        widths = [max(len(row[column]) for row in rows if len(row) > 1) for column in range(len(HEAD))]
        first = widths[0]
        table = []
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            table.append("  ".join([row[0].ljust(first), *cells]).rstrip())
        table.insert(1, "-" * (sum(widths) + 2 * len(widths) - 2))
        return "\n".join(table)

    def lines(self):
        section = None
        for row in self.rows.values():
            if row.section != section:
                section = row.section
                yield (section,)
            if OURS not in row.values:
                continue
            _, met = row.judged()
            names = row.references() or [None]
            for place, name in enumerate(names):
                here = place == 0
                yield ("  " + row.what if here else "",
                       f"{number(row.figure(OURS))} {row.unit}" if here else "",
                       f"{name} {number(row.figure(name))}" if name else "-",
                       f"{ratio:.2f}" if name and (ratio := row.ratio(name)) is not None else "-",
                       row.goal.text(row.unit) if here and row.goal else "",
                       ("met" if met else "missed") if here and row.goal else "")


def number(value):
    """Three digits that say something."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
