"""Results as a page: what was reached, every figure, how the contenders were used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import agreement, targets
from benchmarks.contenders import ASYNC, POSTGRESQL, SQLITE, STREAM, XCLAIM, load
from benchmarks.contenders.contender import MissingError
from benchmarks.figures import Figures
from benchmarks.workloads import WORKLOADS, title

PLOTS = {
    "rates": "Claim and ack, messages per second",
    "workers": "Claim and ack one at a time, by number of workers",
    "growth": "One claim, by the size of backlog and history",
    "pinned": "One at a time while an old snapshot is open, by messages passed",
}
_UNITS = {"messages/s": "{:,.0f}", "stopped after": "{:,.0f}"}


def page(results: dict[str, Any], *, pictures: str, long_run: dict[str, Any] | None = None) -> str:
    """Return docs/benchmarks.md; its pictures are in the folder `pictures`, seen from the page.

    ``long_run``: the results to compare those of a quick run with.
    """
    machine, figures = results["machine"], Figures(results["records"])
    parts = [
        "# Benchmarks\n",
        "Written by `make bench`" + (", from a quick run.\n" if machine["quick"] else ".\n"),
        *_conditions(machine, figures),
        "## Targets\n",
        *targets.table(figures),
        "",
        *(agreement.section(figures, long_run) if long_run else ()),
        *_plots(figures, pictures),
        "## Every figure\n",
        "Medians of all rounds, lowest to highest in brackets. The ratio is xclaim's figure",
        "divided by the contender's, round by round: more is better for rates, less for times.\n",
        *_left_out(figures),
        *(line for name in figures.workloads() for line in _workload(figures, name)),
        "## How each was used\n",
        *_notes(figures),
    ]
    return "\n".join(parts) + "\n"


def _conditions(machine: dict[str, Any], figures: Figures) -> Iterator[str]:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    settings = ", ".join(f"`{name} = {value}`" for name, value in machine["settings"].items())
    yield f"{machine['date']}: {machine['processor']}, {machine['cores']} cores,"
    yield f"{machine['memory']}, {machine['system']}, Python {machine['python']},"
    yield f"PostgreSQL {machine['postgresql']}, SQLite {machine['sqlite']}. {packages}.\n"
    yield f"Durable: {settings}.\n"
    yield "Each workload is one run: the contenders take turns in every round, each in a database"
    yield "of its own, filled, vacuumed, analyzed and checkpointed before the clock starts. Server"
    yield "and workers share the cores. Payloads have about 200 bytes. Read ratios rather than"
    yield "rates: the machine is noisy."
    if figures.anybody_sat_out():
        yield "Who was five times slower than xclaim in the first round sat the others out."
    yield ""


def _plots(figures: Figures, folder: str) -> Iterator[str]:
    for name in figures.pictures():
        yield f"![{PLOTS[name]}]({folder}/{name}.svg)\n"


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
        failures = figures.failures(name, contender)
        label = f"{contender} ({failures})" if failures else contender
        yield f"| {label} | {' | '.join(cells)} | {shown} |"
    yield ""


def _left_out(figures: Figures) -> Iterator[str]:
    missing = [name for name in POSTGRESQL if name not in _took_part(figures)]
    if missing:
        yield f"No workload of this run had {', '.join(missing)}.\n"


def _took_part(figures: Figures) -> set[str]:
    return {name for workload in figures.workloads() for name in figures.contenders(workload)}


def _cell(values: Sequence[float], name: str) -> str:
    if not values:
        return ""
    ordered = sorted(values)
    show = _UNITS.get(name, "{:,.3g}").format
    middle = show(ordered[len(ordered) // 2])
    return middle if len(values) == 1 else f"{middle} ({show(ordered[0])} - {show(ordered[-1])})"


def _notes(figures: Figures) -> Iterator[str]:
    took_part = _took_part(figures)
    for name in (*POSTGRESQL, STREAM, ASYNC, *SQLITE):
        if name not in took_part:
            continue
        try:
            yield f"- **{name}**: {load(name).note}"
        except MissingError as error:
            yield f"- **{name}** could not take part: {error}."
    yield ""
    yield f"Workloads: {', '.join(f'`{name}`' for name in WORKLOADS)}."
