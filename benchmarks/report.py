"""Results as Markdown."""

from __future__ import annotations

from typing import Any


def tables(results: dict[str, Any]) -> str:
    return ""
