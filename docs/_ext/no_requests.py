"""No page asks another host for anything: a reader may be offline, and is told to nobody.

Links that a reader follows may lead anywhere; scripts, styles, fonts and pictures may not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

_HOST = r"(?:https?:)?//[^\"')\s]+"
_ASKED = {
    ".html": re.compile(
        rf"<(?:script|link|img|iframe|source|video|audio|object|embed)\b[^>]*"
        rf"\b(?:src|href|data|poster)=\"({_HOST})\""
    ),
    ".css": re.compile(rf"(?:url\(|@import)\s*[\"']?({_HOST})"),
}


def requests_of(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file that asks another host for something, and for what."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in _ASKED:
            for address in _ASKED[path.suffix].findall(path.read_text()):
                yield path.relative_to(folder), address


def _refuse(app: Sphinx, failed: Exception | None) -> None:
    found = [] if failed else [f"{path}: {what}" for path, what in requests_of(Path(app.outdir))]
    if found:
        raise SphinxError("pages ask other hosts for\n" + "\n".join(found))


def setup(app: Sphinx) -> dict[str, Any]:
    """Ask Sphinx to be called."""
    app.connect("build-finished", _refuse)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
