"""The sdist and the wheel: how they are built, and what may be in them."""

from __future__ import annotations

import email
import hashlib
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from releasing import tree

# The last is what the renderer gives each heading for itself.
_ALIVE = ("https://", "http://", "#user-content-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distributions:
    """The two files of a release."""

    sdist: Path
    wheel: Path

    def __iter__(self) -> Iterator[Path]:
        """Yield both."""
        yield self.sdist
        yield self.wheel


def build(root: Path, folder: Path, *, made_at: str) -> Distributions:
    """Build the sdist, and the wheel from it, into the folder.

    Without isolation: the versions of what builds are those of this environment. All files are
    `made_at` that second, so that the same files give the same bytes.
    """
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(root)],
        env=os.environ | {"SOURCE_DATE_EPOCH": made_at},
        check=True,
        capture_output=True,
        text=True,
    )
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return Distributions(sdist=sdist, wheel=wheel)


def faults(root: Path, built: Distributions) -> Iterator[str]:
    """Yield a sentence for whatever is wrong with the two files."""
    yield from _differences("sdist", _names_in_sdist(built.sdist), _expected_in_sdist(root))
    yield from _differences("wheel", names_in_wheel(built.wheel), expected_in_wheel(root))
    yield from _faults_of_metadata(root, metadata(built.wheel))


def names_in_wheel(wheel: Path) -> set[str]:
    """Return what is in the wheel."""
    with zipfile.ZipFile(wheel) as files:
        return set(files.namelist())


def expected_in_wheel(root: Path) -> set[str]:
    """Return what belongs into the wheel of this checkout."""
    information = f"xclaim-{tree.version(root)}.dist-info"
    return (
        {name.removeprefix("src/") for name in tree.files(root, "src/xclaim")}
        | {f"xclaim/{name}" for name in tree.files(root, "migrations")}
        | {f"{information}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")}
        | {f"{information}/licenses/LICENSE"}
    )


def metadata(wheel: Path) -> Message:
    """Return the headers, and as its payload the text that PyPI shows."""
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(files.read(name))


def description(found: Message) -> str:
    """Return the text that PyPI shows, in Markdown."""
    payload = found.get_payload(decode=True)
    if not isinstance(payload, bytes):
        raise ValueError("the metadata has more than one part")
    return payload.decode()


def dead_links(text: str) -> list[str]:
    """Return what the links and images of a Markdown text lead to, where that is no address."""
    from readme_renderer import markdown  # not in every environment that tests run in

    html = markdown.render(text)
    if html is None:
        raise ValueError("PyPI could not render the description")
    links = _Links()
    links.feed(html)
    return [link for link in links.found if not link.startswith(_ALIVE)]


def digests(paths: Iterator[Path] | list[Path]) -> str:
    """Return a line for each file, as `sha256sum --check` reads them."""
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths
    )


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


def _differences(what: str, there: set[str], expected: set[str]) -> Iterator[str]:
    for name in sorted(there - expected):
        yield f"the {what} has {name}, which does not belong there"
    for name in sorted(expected - there):
        yield f"the {what} lacks {name}"


def _names_in_sdist(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as files:
        return {member.name.partition("/")[2] for member in files if member.isfile()}


def _expected_in_sdist(root: Path) -> set[str]:
    return tree.files(root) | {"PKG-INFO"}


def _faults_of_metadata(root: Path, found: Message) -> Iterator[str]:
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    if found["Version"] != tree.version(root):
        yield f"the version is {found['Version']}, not {tree.version(root)}"
    extras = set(found.get_all("Provides-Extra", []))
    if extras != set(project["optional-dependencies"]):
        yield f"the extras are {sorted(extras)}"
    for link in dead_links(description(found)):
        yield f"the description has a link that is dead on PyPI: {link}"
