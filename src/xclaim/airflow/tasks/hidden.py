"""What a task works with and Airflow must not show: in its database, its UI and its logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_SHOWN: Final = "(not shown: the payloads of this queue are encrypted)"


class Hidden:
    """A value that is shown as nothing, by whatever asks for its text or looks at its attributes.

    Airflow keeps the text of rendered fields, and listeners may look into an operator. What is
    hidden already is hidden once: a task may be rendered again.

    :param value: what is not to be shown.
    """

    __slots__ = ("_reveal",)

    def __init__(self, value: Any) -> None:
        plain = revealed(value)
        self._reveal: Callable[[], Any] = lambda: plain

    def __repr__(self) -> str:
        """Return what stands in the place of the value."""
        return _SHOWN


def revealed(value: Any) -> Any:
    """Return what is hidden, or the value itself.

    :param value: hidden or not.
    """
    return value._reveal() if isinstance(value, Hidden) else value  # noqa: SLF001
