"""Whether the checkout is one that may be published."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
_SHOWN = 5


def version(root: Path) -> str:
    """Return the version that the package has, without importing it."""
    found = _VERSION.search((root / "src" / "xclaim" / "__init__.py").read_text())
    if found is None:
        raise ValueError(f"{root}/src/xclaim/__init__.py has no __version__")
    return found[1]


def obstacles(root: Path) -> Iterator[str]:
    """Yield a sentence for each reason not to publish what is there."""
    if not (root / ".git").exists():
        yield f"{root} is no checkout of git, so nobody knows what would be published"
        return
    fragments = sorted(path.name for path in (root / "news").glob("*") if path.name != "README.md")
    if fragments:
        are = "news fragment is" if len(fragments) == 1 else "news fragments are"
        yield (
            f"{len(fragments)} {are} in no release of CHANGELOG.md ({_some(fragments)}): "
            "see news/README.md"
        )
    yield from _of_the_changelog(root)
    changed = git(root, "status", "--porcelain").splitlines()
    if changed:
        yield f"the work tree is not as it was committed ({_some(changed)}): commit, or clean up"


def git(root: Path, *arguments: str) -> str:
    """Return what git prints. Raise CalledProcessError where there is no checkout."""
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def files(root: Path, *folders: str) -> set[str]:
    """Return the files that git has or would have: none that .gitignore names."""
    listing = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    names = git(root, *listing, "--", *folders).split("\0")
    return {name for name in names if name and (root / name).exists()}


def committed_at(root: Path) -> str:
    """Return the second of the last commit, which all files in the distributions have."""
    return git(root, "log", "-1", "--format=%ct").strip()


def _of_the_changelog(root: Path) -> Iterator[str]:
    newest = next(
        (line for line in (root / "CHANGELOG.md").read_text().splitlines() if line[:3] == "## "),
        "nothing",
    )
    if not re.fullmatch(rf"## {re.escape(version(root))} - \d{{4}}-\d\d-\d\d", newest):
        yield (
            f"CHANGELOG.md begins with `{newest}`: its newest heading is to be "
            f"`## {version(root)} - <the day of the release>`"
        )


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(name.strip() for name in names[:_SHOWN]) + (f" and {more} more" * (more > 0))
