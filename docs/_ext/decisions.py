"""The decisions belong to the list of them, which a repository browser shows as README.md."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

_LIST = "adr/README"


def _add_pages(_: Sphinx, document: str, source: list[str]) -> None:
    if document == _LIST:
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"


def setup(app: Sphinx) -> dict[str, Any]:
    """Ask Sphinx to be called."""
    app.connect("source-read", _add_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
