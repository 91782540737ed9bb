"""The sources of an earlier commit, taken from git into a temporary folder."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOW, BEFORE = "now", "before"


@contextmanager
def both(revision: str) -> Iterator[dict[str, Path]]:
    """Yield the folder ``src`` of this checkout, as it is now, and of an earlier commit."""
    with earlier(revision) as source:
        yield {NOW: ROOT / "src", BEFORE: source}


@contextmanager
def earlier(revision: str) -> Iterator[Path]:
    """Yield the folder ``src`` of a commit, with its migrations beside it."""
    with tempfile.TemporaryDirectory(prefix="xclaim-before-") as folder:
        archive = _git("archive", commit(revision), "src", "migrations")
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder) / "src"


def commit(revision: str) -> str:
    """Return the full name of a commit. Raise SystemExit if there is none of that name."""
    try:
        found = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except subprocess.CalledProcessError:
        raise SystemExit(f"there is no commit {revision!r} in this repository") from None
    return found.decode().strip()


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout  # noqa: S607
