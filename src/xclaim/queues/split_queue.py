"""A queue in several parts, which looks like one: what is about one database is refused."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NoReturn

from xclaim.errors import InvalidArgumentError
from xclaim.queues.bound_queue import BoundQueue
from xclaim.queues.parts import Part, Parts
from xclaim.queues.split_runner import SplitRunner


class SplitQueue(BoundQueue):
    """The parts of one queue, in the order of their numbers, behind the methods of a queue.

    ``places``: the names of the parts that are in a place, the place's name, and a queue bound to
    it, which is closed with this one.
    """

    def __init__(
        self,
        name: str,
        parts: Sequence[str],
        places: Sequence[tuple[Sequence[str], str, BoundQueue]],
    ) -> None:
        self._bound = [bound for _, _, bound in places]
        self._begin(name, self._bound[0].bind, self._bound[0].reconnect)
        there = {
            part: Part(name=part, place=place, runner=bound.runner)
            for names, place, bound in places
            for part in names
        }
        self._parts = frozenset(parts)
        self._places = [place for _, place, _ in places]
        self._fixed_runner = SplitRunner(Parts(self.name, [there[part] for part in parts]))

    def shown_database(self) -> str:
        """Return how many parts there are, and in which places."""
        return f"{len(self._parts)} parts in {', '.join(self._places)}"

    def transact(self, *_: object) -> NoReturn:
        """Refuse it: a transaction is in one database, and nobody knows in which the claim is."""
        raise InvalidArgumentError(
            f"queue {self.name!r} is split, and a transaction is in one database: transact with "
            f"one of its parts, Queue({min(self._parts)!r}, ...)"
        )

    def redrive(self, *given: Any, **options: Any) -> int:
        """Move dead letters back, part by part; not to another queue, which is in one place."""
        if options.get("to") is not None:
            raise InvalidArgumentError(
                f"queue {self.name!r} is split, and no message leaves its place: redrive to "
                f"another queue from each of its parts, Queue({min(self._parts)!r}, ...)"
            )
        return super().redrive(*given, **options)

    def close(self) -> None:
        """Close what was opened for each place."""
        with ExitStack() as closing:
            for bound in self._bound:
                closing.callback(bound.close)

    def _has(self, queue: str) -> bool:
        return queue in self._parts
