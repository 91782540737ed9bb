"""Workloads, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from benchmarks.crew import Crew
from benchmarks.machine import describe
from benchmarks.measuring import Context
from benchmarks.server import run_server
from benchmarks.workloads import WORKLOADS

_WORKERS = 8


def run(names: Iterable[str], path: Path, *, quick: bool) -> None:
    """Measure each, and write after each all that was measured: the rest may never end."""
    with run_server() as server:
        context = Context(server=server, crew=Crew(_WORKERS), quick=quick)
        for name in names:
            WORKLOADS[name](context)
            results = {
                "machine": describe(server, quick=quick),
                "records": [asdict(record) for record in context.records],
            }
            path.write_text(json.dumps(results, indent=1) + "\n")
