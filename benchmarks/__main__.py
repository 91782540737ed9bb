"""Run the benchmarks: `python -m benchmarks`, or `--quick` in under three minutes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks import plots, report, running
from benchmarks.figures import beside, failed
from benchmarks.workloads import WORKLOADS

_ARTEFACTS, _PAGE = Path("docs/artefacts/benchmarks"), Path("docs/benchmarks.md")


def main() -> None:
    """Measure, or read what was measured, and write results.json, the page and its pictures."""
    options = _options()
    folder: Path = options.output
    page = _PAGE if folder == _ARTEFACTS else folder.parent / f"{folder.name}.md"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.json"
    if not options.report:
        running.run(options.only or WORKLOADS, path, quick=options.quick)
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
