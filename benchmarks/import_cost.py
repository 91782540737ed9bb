"""What importing xclaim costs beside what is imported anyway: measured in one run, by turns.

`import xclaim` may cost 50 ms more than `import sqlalchemy`, also when the first Queue is named;
what a DAG file needs, 50 ms more than `import airflow.sdk`. Run: python benchmarks/import_cost.py
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import time

ROUNDS = 11
# As installed: with the compiled files that pip leaves behind.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
CORE = {
    "import sqlalchemy": "import sqlalchemy",
    "import xclaim": "import xclaim",
    "import sqlalchemy, xclaim": "import sqlalchemy, xclaim",
    "from xclaim import Queue": "from xclaim import Queue",
}
SDK = "from airflow.sdk import dag, task; "
# As a DAG file would have it: Airflow imports its own @task when it is used.
AIRFLOW = {
    "airflow.sdk": SDK,
    "and the hook": SDK + "from xclaim.airflow.hooks import XclaimHook",
    "and operators, sensor": SDK + "import xclaim.airflow.operators, xclaim.airflow.sensors",
    "a @task": SDK + "task(lambda: 1)",
    "a @task.exclusive": SDK + "task.exclusive(queue='q')(lambda message: 1)",
}


def seconds(code: str) -> float:
    """Return how long a fresh interpreter takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Print a line for each import, with its ratio to the first of its group."""
    compare(CORE, ROUNDS)
    if importlib.util.find_spec("airflow"):
        compare(AIRFLOW, ROUNDS // 2)


def compare(group: dict[str, str], rounds: int) -> None:
    """Measure the imports of a group by turns, and print them."""
    taken: dict[str, list[float]] = {name: [] for name in group}
    for _ in range(rounds):
        for name, code in group.items():
            taken[name].append(seconds(code))
    base = statistics.median(next(iter(taken.values())))
    print(f"{'':28}{'median':>9}{'min':>9}{'more':>10}{'ratio':>8}")
    for name, values in taken.items():
        median = statistics.median(values)
        times = (
            f"{median * 1000:6.0f} ms{min(values) * 1000:6.0f} ms{(median - base) * 1000:+7.0f} ms"
        )
        print(f"{name:28}{times}{median / base:8.2f}")


if __name__ == "__main__":
    main()
