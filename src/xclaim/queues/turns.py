"""Whose turn it is among the parts of a queue that is split."""

from __future__ import annotations

import random


class Turns:
    """At which part the next claim begins, or the next push: after the one that the last was of.

    So who claims alone and comes to a part again has seen that the others had nothing. Without a
    lock: who takes the turn of another thread begins where that one does.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._next = random.randrange(count)  # noqa: S311

    def next(self) -> int:
        """Return the number of a part, another one each time."""
        number = self._next
        self.after(number)
        return number

    def after(self, number: int) -> None:
        """Let the next verb begin behind this part."""
        self._next = (number + 1) % self._count
