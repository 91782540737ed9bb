"""Run the benchmarks: `python -m benchmarks`, or `--quick` in under three minutes."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks import report
from benchmarks.crew import Crew
from benchmarks.machine import describe
from benchmarks.measuring import Context
from benchmarks.server import run_server
from benchmarks.workloads import WORKLOADS

_WORKERS = 8


def main() -> None:
    """Measure, write results.json, and print or write the page."""
    options = _options()
    with run_server() as server:
        context = Context(server=server, crew=Crew(_WORKERS), quick=options.quick)
        for name in options.only or WORKLOADS:
            WORKLOADS[name](context)
        results = {
            "machine": describe(server, quick=options.quick),
            "records": [asdict(record) for record in context.records],
        }
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "results.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(report.tables(results))
    print(f"written to {path}", file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller sizes")
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), help="these workloads alone")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/output"), help="where results.json goes"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
