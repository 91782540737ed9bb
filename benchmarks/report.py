"""Results as a page: what was reached, every figure, how the contenders were used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import targets
from benchmarks.contenders import POSTGRESQL, SQLITE, STREAM, XCLAIM, load
from benchmarks.figures import Figures
from benchmarks.workloads import WORKLOADS, title

PLOTS = {
    "rates": "Claim and ack, messages per second",
    "workers": "Claim and ack one at a time, by number of workers",
    "growth": "One claim, by the size of backlog and history",
    "pinned": "One at a time while an old snapshot is open, by messages passed",
}
_UNITS = {"messages/s": "{:,.0f}", "stopped after": "{:,.0f}"}


def page(results: dict[str, Any], *, pictures: str) -> str:
    """Return docs/benchmarks.md; its pictures are in the folder `pictures`, seen from the page."""
    machine, figures = results["machine"], Figures(results["records"])
    parts = [
        "# Benchmarks\n",
        "Written by `make bench`" + (", from a quick run.\n" if machine["quick"] else ".\n"),
        *_conditions(machine),
        "## Targets\n",
        *targets.table(figures),
        "",
        *_plots(pictures),
        "## Every figure\n",
        "Medians of all rounds, lowest to highest in brackets. The ratio is xclaim's figure",
        "divided by the contender's, round by round: more is better for rates, less for times.\n",
        *(line for name in figures.workloads() for line in _workload(figures, name)),
        "## How each was used\n",
        *_notes(),
    ]
    return "\n".join(parts) + "\n"


def _conditions(machine: dict[str, Any]) -> Iterator[str]:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    settings = ", ".join(f"`{name} = {value}`" for name, value in machine["settings"].items())
    yield f"{machine['date']}: {machine['processor']}, {machine['cores']} cores,"
    yield f"{machine['memory']}, {machine['system']}, Python {machine['python']},"
    yield f"PostgreSQL {machine['postgresql']}, SQLite {machine['sqlite']}. {packages}.\n"
    yield f"Durable: {settings}.\n"
    yield "One run: the contenders take turns in every round, each in a database of its own,"
    yield "filled, vacuumed, analyzed and checkpointed before the clock starts. Server and workers"
    yield "share the cores. Payloads have about 200 bytes. Read ratios rather than rates: the"
    yield "machine is noisy."
    yield ""


def _plots(pictures: str) -> Iterator[str]:
    for name, text in PLOTS.items():
        yield f"![{text}]({pictures}/{name}.svg)\n"


def _workload(figures: Figures, name: str) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"{title(name)}\n"
    names = figures.names(name)
    yield f"| | {' | '.join(names)} | ratio |"
    yield f"| --- |{' ---: |' * (len(names) + 1)}"
    for contender in figures.contenders(name):
        if error := figures.error(name, contender):
            yield f"| {contender} | {error} |{' |' * len(names)}"
            continue
        cells = [_cell(figures.values(name, contender, each), each) for each in names]
        ratio = figures.ratio(name, XCLAIM, contender, names[0])
        shown = "" if ratio is None or contender == XCLAIM else f"{ratio:.2f}"
        yield f"| {contender} | {' | '.join(cells)} | {shown} |"
    yield ""


def _cell(values: Sequence[float], name: str) -> str:
    if not values:
        return ""
    ordered = sorted(values)
    show = _UNITS.get(name, "{:,.3g}").format
    middle = show(ordered[len(ordered) // 2])
    return middle if len(values) == 1 else f"{middle} ({show(ordered[0])} - {show(ordered[-1])})"


def _notes() -> Iterator[str]:
    for name in (*POSTGRESQL, STREAM, *SQLITE):
        yield f"- **{name}**: {load(name).note}"
    yield ""
    yield f"Workloads: {', '.join(f'`{name}`' for name in WORKLOADS)}."
