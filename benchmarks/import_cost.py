"""What importing xclaim costs beside what is imported anyway: measured in one run, by turns.

`import xclaim` may cost 20 ms more than an interpreter that imports nothing, and 50 ms more than
`import sqlalchemy` when the first Queue is named; what a DAG file needs, 50 ms more than
`import airflow.sdk`. `python -m benchmarks.import_cost [--against REV] [--core]`: with an earlier
commit, its imports of xclaim take turns with this checkout's.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.sides.checkout import NOW, ROOT, both
from benchmarks.turns import by_turns

ROUNDS = 11
# As installed: with the compiled files that pip leaves behind.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
BARE = {"nothing": ""}
XCLAIM = {"import xclaim": "import xclaim"}
SQLALCHEMY = {"import sqlalchemy": "import sqlalchemy"}
QUEUE = {
    "import sqlalchemy, xclaim": "import sqlalchemy, xclaim",
    "from xclaim import Queue": "from xclaim import Queue",
}
SDK = "from airflow.sdk import dag, task; "
AIRFLOW = {"airflow.sdk": SDK}
# As a DAG file would have it: Airflow imports its own @task when it is used.
IN_A_DAG = {
    "and the hook": SDK + "from xclaim.airflow.hooks import XclaimHook",
    "and operators, sensor": SDK + "import xclaim.airflow.operators, xclaim.airflow.sensors",
    "a @task": SDK + "task(lambda: 1)",
    "a @task.exclusive": SDK + "task.exclusive(queue_name='q')(lambda message: 1)",
}


def main() -> None:
    """Print a line for each import, with how much more it takes than the first of its group."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_cost", description=__doc__)
    parser.add_argument("--against", metavar="REV", help="a commit that takes turns with this one")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--core", action="store_true", help="leave out what imports Airflow")
    options = parser.parse_args()
    with ExitStack() as stack:
        sources = {NOW: ROOT / "src"}
        if options.against:
            sources = stack.enter_context(both(options.against))
        compare(BARE, XCLAIM, sources, options.rounds)
        compare(SQLALCHEMY, QUEUE, sources, options.rounds)
        if importlib.util.find_spec("airflow") and not options.core:
            compare(AIRFLOW, IN_A_DAG, sources, options.rounds // 2)


def compare(
    first: Mapping[str, str], others: Mapping[str, str], sources: Mapping[str, Path], rounds: int
) -> None:
    """Measure a group of imports by turns, those of xclaim from each side, and print them."""
    (base,) = first
    imports = {name: partial(seconds, code, sources[NOW]) for name, code in first.items()} | {
        f"{name}, {side}" if len(sources) > 1 else name: partial(seconds, code, source)
        for name, code in others.items()
        for side, source in sources.items()
    }
    by_turns(imports, 1)  # everything is compiled, and in the page cache
    taken = by_turns(imports, rounds)
    print(f"{'':36}{'median':>9}{'min':>9}{'more':>11}{'ratio':>8}")
    for name, values in taken.items():
        pairs = list(zip(values, taken[base], strict=True))
        more = statistics.median(one - other for one, other in pairs)
        ratio = statistics.median(one / other for one, other in pairs)
        print(
            f"{name:36}{statistics.median(values) * 1000:6.0f} ms{min(values) * 1000:6.0f} ms"
            f"{more * 1000:+8.1f} ms{ratio:8.2f}"
        )


def seconds(code: str, source: Path) -> float:
    """Return how long a fresh interpreter takes, with xclaim from ``source``."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRONMENT | {"PYTHONPATH": str(source)},
        cwd=source,
        check=True,
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
