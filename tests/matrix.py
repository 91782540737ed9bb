"""Run the tests of the core on every Python and every PostgreSQL that can be had.

`make test-matrix`, or some of it: `make test-matrix MATRIX="--python 3.12 --postgresql 15 16"`.
What cannot be had is said, and is no failure; a cell whose tests fail, or that ran none, is one.

Pythons are those on the PATH, pyenv's, and what uv can install; each gets an environment below
`.matrix`. PostgreSQLs are those of the embedded wheel, and Debian's in /usr/lib/postgresql.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from releasing.pythons import PYTHONS, find_python
from tests.clusters import new_server
from xclaim import embedded

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".matrix"
POSTGRESQLS = (14, 15, 16, 17, 18)  # what the README promises
_DEBIAN = Path("/usr/lib/postgresql")
_COUNTS = re.compile(r"^=*\s*(\d+ \w+(?:, \d+ \w+)*) in [\d.]+s", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one cell."""

    name: str
    status: int
    counts: str

    @property
    def is_good(self) -> bool:
        """Whether tests ran and all of them passed."""
        return self.status == 0 and " passed" in self.counts

    def __str__(self) -> str:
        """Return the line of the summary."""
        return f"{self.name}: {self.counts}" + ("" if self.is_good else "  <-- FAILED")


def counts_of(output: str) -> str:
    """Return what pytest counted, as `812 passed, 3 skipped`; without it, say so."""
    found = _COUNTS.findall(output)
    return str(found[-1]) if found else "no test ran"


def main() -> int:
    """Run all cells, print a line for each and for what was left out, and return the status."""
    options = _options()
    pythons = {version: find_python(version) for version in options.python}
    servers = {version: find_postgresql(version) for version in options.postgresql}
    outcomes = [
        outcome
        for version, python in pythons.items()
        if python is not None
        for outcome in _run_python(version, python, servers, options.pytest)
    ]
    print("\n".join(["", "matrix", *map(str, outcomes), *left_out(pythons, servers)]))
    return int(not outcomes or not all(outcome.is_good for outcome in outcomes))


def left_out(pythons: dict[str, str | None], servers: dict[int, Path | None]) -> Iterator[str]:
    """Yield a line for each version that could not be had."""
    for version, python in pythons.items():
        if python is None:
            yield f"Python {version}: left out, neither on the PATH, nor pyenv's, nor uv's"
    for number, programs in servers.items():
        if programs is None:
            yield f"PostgreSQL {number}: left out, neither embedded nor in {_DEBIAN}"


def find_postgresql(version: int) -> Path | None:
    """Return the folder of the programs of the version, or None."""
    debian = _DEBIAN / str(version) / "bin"
    if (debian / "postgres").exists():
        return debian
    try:
        return embedded._find_programs(version)
    except ValueError:
        return None


def _run_python(
    version: str, python: str, servers: dict[int, Path | None], pytest: Sequence[str]
) -> Iterator[Outcome]:
    make = ["make", "--no-print-directory", f".matrix/{version}/.installed", f"PYTHON={python}"]
    status = subprocess.run(make, cwd=ROOT, check=False).returncode
    if status:
        yield Outcome(name=f"Python {version}", status=status, counts="not installed")
        return
    for number, programs in servers.items():
        if programs is not None:
            name = f"PostgreSQL {number} x Python {version}"
            print(f"\n{name}", flush=True)
            yield _run_cell(name, FOLDER / version / "bin" / "python", programs, pytest)


def _run_cell(name: str, python: Path, programs: Path, pytest: Sequence[str]) -> Outcome:
    with new_server({}, durable=False, programs=programs) as server:
        url = make_url(server.address).set(query={}).render_as_string(hide_password=False)
        process = subprocess.Popen(
            [str(python), "-m", "pytest", "--color=no", "-p", "no:cacheprovider", *pytest],
            cwd=ROOT,
            env=os.environ | {"XCLAIM_TEST_DATABASE_URL": url},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            print(line, end="", flush=True)
            output += line
        status = process.wait()
    return Outcome(name=name, status=status, counts=counts_of(output))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=PYTHONS)
    parser.add_argument(
        "--postgresql", nargs="+", type=int, choices=POSTGRESQLS, default=POSTGRESQLS
    )
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:end])
    options.pytest = arguments[end + 1 :]
    return options


if __name__ == "__main__":
    sys.exit(main())
