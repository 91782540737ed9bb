"""The parameters of a statement by their places instead of their names."""

from __future__ import annotations

import re

_PARAMETERS = re.compile(r"%%|%\((\w+)\)s")


def by_place(text: str, mark: str) -> tuple[str, tuple[str, ...]]:
    """Return a text whose parameters are ``%(name)s`` with a mark and numbers, and the names.

    They stand in the order of the numbers, each once.
    """
    places: dict[str, int] = {}

    def place(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        return f"{mark}{places.setdefault(found[1], len(places) + 1)}"

    return _PARAMETERS.sub(place, text), tuple(places)
