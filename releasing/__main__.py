"""Build what is published, check it, and use it on each Python that can be had.

`make release` writes the sdist, the wheel, their SBOM and their digests into `dist`. It refuses a
checkout that may not be published. `make release RELEASE=--try` says why it may not, does all the
same with what is there, and writes into `dist/try`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from releasing import distributions, environments, tree
from releasing.distributions import Distributions
from releasing.environments import AIRFLOW_EXTRAS, Environment
from releasing.pythons import PYTHONS, find_python

ROOT = Path(__file__).parents[1]


class ReleaseError(Exception):
    """What is there cannot be published. The text says why."""


def main() -> int:
    """Do it, and return the status."""
    options = _options()
    obstacles = [*tree.obstacles(ROOT), *_left_out(options)]
    for obstacle in obstacles:
        print(f"not ready: {obstacle}")
    if obstacles and not options.is_try:
        print("Nothing was built. To build and try it all the same: make release RELEASE=--try")
        return 1
    try:
        with tempfile.TemporaryDirectory(prefix="xclaim-release-") as folder:
            made = _make(Path(folder), options)
            _hand_over(made, ROOT / "dist" / ("try" if options.is_try else ""))
    except ReleaseError as error:
        print(f"FAILED: {error}")
        return 1
    except subprocess.CalledProcessError as error:
        print(f"FAILED: {' '.join(map(str, error.cmd))}\n{error.stdout or ''}{error.stderr or ''}")
        return 1
    if options.is_try:
        print("This was a try: what it built is not to be published.")
    return 0


def _left_out(options: argparse.Namespace) -> Iterator[str]:
    """Yield a sentence if less is tried than a release has to pass."""
    if tuple(options.python) != PYTHONS or not options.airflow:
        yield "a release is tried on each Python and in Airflow: not with --python or --no-airflow"


def _make(folder: Path, options: argparse.Namespace) -> list[Path]:
    """Build, check and try, and return the files of the release."""
    built = _build(folder)
    bill = folder / f"xclaim-{tree.version(ROOT)}.cdx.json"
    pythons = {version: find_python(version) for version in options.python}
    for version, python in pythons.items():
        if python is None:
            print(f"Python {version}: left out, neither on the PATH, nor pyenv's, nor uv's")
    found = {version: python for version, python in pythons.items() if python is not None}
    if not found:
        raise ReleaseError("no Python to try the distributions on")
    for version, python in found.items():
        _try_on(version, python, built, folder / version, is_with_airflow=options.airflow)
    _write_bill(folder / list(found)[-1] / "extras", bill)
    return [*built, bill]


def _build(folder: Path) -> Distributions:
    made_at = tree.committed_at(ROOT)
    built = distributions.build(ROOT, folder / "built", made_at=made_at)
    again = distributions.build(ROOT, folder / "again", made_at=made_at)
    if distributions.digests([*built]) != distributions.digests([*again]):
        raise ReleaseError("two builds of the same files differ")
    faults = list(distributions.faults(ROOT, built))
    if faults:
        raise ReleaseError("; ".join(faults))
    _check(sys.executable, "-m", "twine", "check", "--strict", *map(str, built))
    _check(sys.executable, "-m", "validate_pyproject", str(ROOT / "pyproject.toml"))
    print(f"built and checked: {', '.join(path.name for path in built)}", flush=True)
    return built


def _try_on(
    version: str, python: str, built: Distributions, folder: Path, *, is_with_airflow: bool
) -> None:
    for name, requirement, attempt in _trials(built):
        if name == "airflow" and not is_with_airflow:
            continue
        print(f"Python {version}: {requirement.removeprefix(str(built.wheel.parent))[1:]}", end=" ")
        sys.stdout.flush()
        installed = environments.install(
            python, folder / name, requirement, ROOT / "constraints.txt"
        )
        attempt(installed)
        print("works", flush=True)


def _trials(built: Distributions) -> Iterator[tuple[str, str, Callable[[Environment], None]]]:
    """Yield a name for each trial, what is installed for it, and what is done with it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = sorted(set(project["optional-dependencies"]) - AIRFLOW_EXTRAS)
    yield "wheel", str(built.wheel), environments.try_core
    yield "sdist", str(built.sdist), environments.try_core
    yield "extras", f"{built.wheel}[{','.join(extras)}]", environments.try_extras
    yield "airflow", f"{built.wheel}[{','.join(sorted(AIRFLOW_EXTRAS))}]", environments.try_airflow


def _write_bill(folder: Path, bill: Path) -> None:
    environments.write_bill(
        Environment(folder=folder), ROOT, tree.version(ROOT), bill, tree.committed_at(ROOT)
    )


def _hand_over(made: list[Path], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in made:
        shutil.copy(path, folder)
    (folder / "SHA256SUMS").write_text(distributions.digests(made))
    print(f"{folder.relative_to(ROOT)}:\n{distributions.digests(made)}", end="")


def _check(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m releasing", description=__doc__)
    parser.add_argument("--try", action="store_true", dest="is_try", help="whatever the checkout")
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=PYTHONS)
    parser.add_argument(
        "--no-airflow",
        action="store_false",
        dest="airflow",
        help="leave Airflow out, which takes long",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
