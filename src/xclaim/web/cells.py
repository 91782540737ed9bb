"""What changes on a page while somebody looks: texts by key, made once for the page and the stream.

An element with ``data-cell="available:orders"`` is the cell of that key. Only texts, a word and the
points of a line are sent, never HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xclaim.web import charts
from xclaim.web.formats import count, duration, estimate, number

if TYPE_CHECKING:
    from xclaim.observing.values import Flow, Percentiles, QueueSummary

# From a key to `text`, and for some `state` (a word for the style), `path` or `label` (of a line).
Cells = dict[str, Mapping[str, Any]]
NOTHING = "–"  # noqa: RUF001
COUNTED = ("available", "delayed", "retrying", "claimed", "lapsed", "dead")


def cells_of(queue: QueueSummary) -> Cells:
    """Return the cells of a queue; those of its flow only if that was asked for."""
    name = queue.name
    cells: Cells = {
        f"{column}:{name}": {"text": count(getattr(queue, column))} for column in COUNTED
    }
    cells[f"verdict:{name}"] = {"text": str(queue.verdict), "state": str(queue.verdict)}
    cells[f"oldest_waiting:{name}"] = {"text": duration(queue.oldest_waiting)}
    cells[f"oldest_claim:{name}"] = {"text": duration(queue.oldest_claim)}
    if queue.flow is not None:
        cells |= flow_cells(name, queue.flow)
    return cells


def flow_cells(name: str, flow: Flow) -> Cells:
    """Return the cells of what was consumed of a queue lately."""
    consumed = flow.consumed
    minutes = consumed.step.total_seconds() * len(consumed.values) / 60
    rate = estimate if consumed.is_estimate else number
    least = "" if consumed.is_estimate or consumed.is_complete else "at least "
    return {
        f"rate:{name}": {"text": least + rate(flow.consumed_per_minute)},
        f"waiting:{name}": {"text": _percentiles(flow.waiting)},
        f"work:{name}": {"text": _percentiles(flow.work)},
        f"spark:{name}": {
            "path": charts.spark_path(consumed.values),
            "label": f"{charts.total_of(consumed)} consumed in {number(round(minutes, 1))} minutes",
        },
    }


def _percentiles(of: Percentiles | None) -> str:
    if of is None:
        return NOTHING
    return " / ".join(duration(each) for each in (of.p50, of.p95, of.p99))
