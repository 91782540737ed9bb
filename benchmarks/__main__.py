"""Run the benchmarks: `python -m benchmarks`, or `--quick` in under three minutes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import plots, report
from benchmarks.crew import Crew
from benchmarks.figures import beside, failed
from benchmarks.machine import describe
from benchmarks.measuring import Context
from benchmarks.server import run_server
from benchmarks.workloads import WORKLOADS

_WORKERS = 8
_ARTEFACTS, _PAGE = Path("docs/artefacts/benchmarks"), Path("docs/benchmarks.md")


def main() -> None:
    """Measure, or read what was measured, and write results.json, the page and its pictures."""
    options = _options()
    folder: Path = options.output
    page = _PAGE if folder == _ARTEFACTS else folder.parent / f"{folder.name}.md"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    if not options.report:
        for results in _measure(options):  # what was measured is kept if the rest never ends
            path.write_text(json.dumps(results, indent=1) + "\n")
    results = json.loads(path.read_text())
    plots.draw(results, folder)
    text = report.page(
        results | {"records": [*results["records"], *beside(folder)]},
        pictures=os.path.relpath(folder, page.parent),
        long_run=_long_run() if results["machine"]["quick"] else None,
    )
    page.write_text(text)
    print(text.partition("![")[0])
    print(f"written: {page}", file=sys.stderr)
    if wrong := failed(results["records"]):
        sys.exit(f"these did not do the work that was measured: {', '.join(wrong)}")


def _long_run() -> dict[str, Any] | None:
    path = _ARTEFACTS / "results.json"
    return json.loads(path.read_text()) if path.exists() else None


def _measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure one workload after the other, and return after each all that was measured."""
    with run_server() as server:
        context = Context(server=server, crew=Crew(_WORKERS), quick=options.quick)
        for name in options.only or WORKLOADS:
            WORKLOADS[name](context)
            yield {
                "machine": describe(server, quick=options.quick),
                "records": [asdict(record) for record in context.records],
            }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller sizes")
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), help="these workloads alone")
    parser.add_argument(
        "--report", action="store_true", help="write the page anew, measure nothing"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_ARTEFACTS,
        help="folder of results.json and the pictures; the page is written beside another one",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
