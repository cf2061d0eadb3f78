"""Turns the results into plain text: the rows with targets, then the pairs. Never measures."""

import statistics

from pair import OURS, RIVAL

SCALE = {"ms": 1000, "MiB": 1 / (1024 * 1024), "x": 1, "": 1}
DIRECT = "without a proxy, s"
HEAD = ("what", "longshore", "rival", "ratio")
GOAL_NOTES = """
Figures are medians of rounds in turns; ratio is the median of longshore / reference in each round. GB is 10^9 bytes.
CPU is that of the server's processes only: the client's (the kernel throws its bytes away) is in no figure, but it
shares the cores, as the origin does."""
NOTES = """
Figures are median (minimum) of paired runs A B A B …, the first pair thrown away; ratio is the median of
rival / longshore in each pair: above 1.00 the rival needed more. A dash: nothing to divide by.
CPU is user + system. Client, proxy and upstream share this machine's cores, so wall time has the work of all three.
Requests upstream are all that its access log has, docker-registry's many GET /v2/ among them.
Rivals: amazon-ecr-credential-helper for the helper, docker-registry with a proxy section for the daemon."""


def number(value, unit):
    """Three digits that say something, and no more; counts are whole."""
    value *= SCALE[unit]
    if unit == "" or value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(row, side):
    median, least = (number(value, row.unit) for value in row.summary(side))
    return f"{median if median == least else f'{median} ({least})'} {row.unit}".rstrip()


def lines(results):
    """Rows of four cells; a section's title has only the first."""
    section = None
    for row in results.rows.values():
        if row.section != section:
            section = row.section
            yield (section,)
        ratio = row.ratio()
        yield "  " + row.what, cell(row, OURS), cell(row, RIVAL), "-" if ratio is None else f"{ratio:.2f}"


def floors(facts):
    for repository, walls in facts.get(DIRECT, {}).items():
        median, least = (number(value, "ms") for value in (statistics.median(walls), min(walls)))
        yield f"Without a proxy, straight from the upstream, {repository} takes {median} ({least}) ms."


def plain(results, goals, facts):
    """Every measurement, for other programs, in the units of the table."""
    rows = []
    for row in results.rows.values():
        values = {side: [value * SCALE[row.unit] for value in row.values[side]] for side in (OURS, RIVAL)}
        rows.append({"section": row.section, "what": row.what, "unit": row.unit, **values, "ratio": row.ratio()})
    return {"about": facts, "targets": goals.plain(), "rows": rows}


def aligned(rows):
    full = [row for row in rows if len(row) == len(HEAD)]
    first, *others = (max(len(row[column]) for row in full) for column in range(len(HEAD)))
    table = []
    for row in rows:
        cells = [content.rjust(width) for content, width in zip(row[1:], others)]
        table.append("  ".join([row[0].ljust(first), *cells]).rstrip())
    table.insert(1, "-" * (first + sum(width + 2 for width in others)))
    return "\n".join(table)


def text(results, goals, facts):
    known = [f"{name}: {value}" for name, value in facts.items() if name != DIRECT]
    parts = []
    if goals.rows:
        parts += [goals.text(), GOAL_NOTES]
    if results.rows:
        parts += [aligned([HEAD, *lines(results)]), NOTES, "\n".join(floors(facts))]
    return "\n".join([*(part.strip("\n") + "\n" for part in parts if part), *known])
