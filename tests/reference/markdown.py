"""Pieces of Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

WRITTEN = "<!-- Written by `python -m tests.reference`: change the code that it describes. -->"


def page(title: str, sentence: str, *parts: str) -> str:
    """Return a page: its title, what the reader finds there, and the parts."""
    return "\n\n".join([f"# {title}", WRITTEN, sentence, *parts]) + "\n"


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def code(text: str) -> str:
    """Return text as code; nothing for nothing."""
    if "`" in text:
        return f"`` {text} ``"
    return f"`{text}`" if text else ""


def block(text: str, language: str) -> str:
    """Return a block of code."""
    return f"```{language}\n{text.strip()}\n```"


def docstring(value: Any) -> str:
    """Return what the docstring says, as one paragraph of Markdown."""
    text = re.sub(r"``([^`]+)``", r"`\1`", inspect.getdoc(value) or "")
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
