"""The page's pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt

from benchmarks.contenders import POSTGRESQL, SAME, SHORTEST, STREAM, XCLAIM
from benchmarks.figures import PICTURES, Figures

# Okabe and Ito's colours, which the colour-blind can tell apart, then darker ones of Paul Tol's.
_COLOUR_OF = {
    XCLAIM: "#0072b2",
    STREAM: "#56b4e9",
    SAME: "#000000",
    SHORTEST: "#999999",
    "pgmq": "#e69f00",
    "pgmq archive": "#d55e00",
    "pgqueuer": "#009e73",
    "procrastinate": "#cc79a7",
    "awa": "#b2912f",
    "pg-boss": "#332288",
    "graphile-worker": "#882255",
    "chancy": "#44aa99",
    "oban": "#117733",
    "absurd": "#aa4499",
}
_SETTINGS = {
    "svg.hashsalt": "xclaim",  # the same figures give the same file
    "svg.fonttype": "none",
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def draw(results: dict[str, Any], folder: Path) -> None:
    """Write the SVG files."""
    figures = Figures(results["records"])
    drawn = {"rates": _rates, "workers": _workers, "growth": _growth, "pinned": _pinned}
    with mpl.rc_context(_SETTINGS):
        for name in figures.pictures():
            _save(drawn[name](figures), folder / f"{name}.svg")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def _rates(figures: Figures) -> Any:
    shown = [name for name in PICTURES["rates"] if figures.contenders(name)]
    figure, axes = plt.subplots(1, len(shown), figsize=(4 * len(shown), 3.5), squeeze=False)
    for axis, workload in zip(axes[0], shown, strict=True):
        names = [
            n for n in figures.contenders(workload) if figures.median(workload, n, "messages/s")
        ]
        names.sort(key=lambda name: figures.median(workload, name, "messages/s") or 0)
        values = [figures.median(workload, name, "messages/s") for name in names]
        axis.barh(names, values, color=[_COLOUR_OF.get(name, "#999999") for name in names])
        axis.set_title(workload)
        axis.set_xlabel("messages per second")
    figure.tight_layout()
    return figure


def _workers(figures: Figures) -> Any:
    figure, axis = plt.subplots(figsize=(7, 4))
    counts = [n for n in (1, 2, 8) if figures.contenders(f"claim_ack_{n}")]
    for name in POSTGRESQL:
        values = [figures.median(f"claim_ack_{count}", name, "messages/s") for count in counts]
        if all(values):
            axis.plot(counts, values, marker="o", label=name, color=_COLOUR_OF[name])
    axis.set_xlabel("worker processes")
    axis.set_ylabel("messages per second")
    axis.set_xticks(counts)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
    return figure


def _growth(figures: Figures) -> Any:
    figure, axis = plt.subplots(figsize=(7, 4))
    sizes = sorted(
        int(name.removeprefix("growth_"))
        for name in figures.workloads()
        if name.startswith("growth_")
    )
    for name in (XCLAIM, SHORTEST, "pgmq", "pgqueuer", "procrastinate"):
        figure_name = "median ms" if name in (XCLAIM, SHORTEST) else "claim+ack median ms"
        points = [(size, figures.median(f"growth_{size}", name, figure_name)) for size in sizes]
        points = [(size, value) for size, value in points if value is not None]
        if points:
            label = name if name in (XCLAIM, SHORTEST) else f"{name} (with the ack)"
            axis.plot(*zip(*points, strict=True), marker="o", label=label, color=_COLOUR_OF[name])
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("messages waiting, and as many consumed")
    axis.set_ylabel("milliseconds, median")
    axis.legend(fontsize=8)
    return figure


def _pinned(figures: Figures) -> Any:
    figure, axis = plt.subplots(figsize=(7, 4))
    for name in figures.contenders("pinned"):
        for workload, style in (("unpinned", ":"), ("pinned", "-")):
            points = [
                (int(each.removeprefix("after ")), figures.median(workload, name, each))
                for each in figures.names(workload)
                if each.startswith("after ")
            ]
            points = [(passed, value) for passed, value in points if value is not None]
            if points:
                label = name if style == "-" else None
                axis.plot(*zip(*points, strict=True), style, label=label, color=_COLOUR_OF[name])
    axis.set_xlabel("messages passed (dotted: without the snapshot)")
    axis.set_ylabel("messages per second, one at a time")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
    return figure
