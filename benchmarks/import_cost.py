"""How much dearer `import xclaim` is than `import sqlalchemy`: both measured in one run, by turns.

The limit is 50 ms more, also when the first Queue is named. Run: python benchmarks/import_cost.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

ROUNDS = 11
# As installed: with the compiled files that pip leaves behind.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
CODE = {
    "import sqlalchemy": "import sqlalchemy",
    "import xclaim": "import xclaim",
    "import sqlalchemy, xclaim": "import sqlalchemy, xclaim",
    "from xclaim import Queue": "from xclaim import Queue",
}


def seconds(code: str) -> float:
    """Return how long a fresh interpreter takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Print a line for each import, with its ratio to SQLAlchemy's."""
    taken: dict[str, list[float]] = {name: [] for name in CODE}
    for _ in range(ROUNDS):
        for name, code in CODE.items():
            taken[name].append(seconds(code))
    base = statistics.median(taken["import sqlalchemy"])
    print(f"{'':28}{'median':>9}{'min':>9}{'more':>10}{'ratio':>8}")
    for name, values in taken.items():
        median = statistics.median(values)
        times = (
            f"{median * 1000:6.0f} ms{min(values) * 1000:6.0f} ms{(median - base) * 1000:+7.0f} ms"
        )
        print(f"{name:28}{times}{median / base:8.2f}")


if __name__ == "__main__":
    main()
