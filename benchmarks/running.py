"""Workloads, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.crew import Crew
from benchmarks.machine import describe
from benchmarks.measuring import Context
from benchmarks.server import run_server
from benchmarks.workloads import WORKLOADS

_WORKERS = 8


def run(names: Iterable[str], path: Path, *, quick: bool) -> None:
    """Measure each, and write after each all that was measured: the rest may never end.

    Where only some are named, what stands there of the others is kept.
    """
    named = list(names)
    is_part = set(named) != set(WORKLOADS) and path.exists()
    before = json.loads(path.read_text()) if is_part else None
    with run_server() as server:
        context = Context(server=server, crew=Crew(_WORKERS), quick=quick)
        for name in named:
            WORKLOADS[name](context)
            results: dict[str, Any] = {
                "machine": describe(server, quick=quick),
                "records": [asdict(record) for record in context.records],
            }
            results["records"] = with_others(before, results)
            path.write_text(json.dumps(results, indent=1) + "\n")


def with_others(before: dict[str, Any] | None, now: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of now with those of other workloads, in the order of before.

    None are kept of a run that was quicker, or longer.
    """
    records: list[dict[str, Any]] = now["records"]
    if before is None or before["machine"]["quick"] != now["machine"]["quick"]:
        return records
    measured = {record["workload"] for record in records}
    kept = [record for record in before["records"] if record["workload"] not in measured]
    order = list(dict.fromkeys(record["workload"] for record in [*before["records"], *records]))
    return sorted([*kept, *records], key=lambda record: order.index(record["workload"]))
