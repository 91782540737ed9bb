"""The door to the read model: what is to be seen of queues and messages, asked of the database."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

from sqlalchemy import Engine

from xclaim import arguments
from xclaim.connections.engine import check_driver
from xclaim.errors import InvalidArgumentError
from xclaim.observing import charting, flowing, listing, measuring, permitting
from xclaim.observing.asking import Question, asking
from xclaim.observing.values import Chart, Charted, Flow, Measures, QueueSummary, Rights

_TIMEOUT = timedelta(seconds=2)


class Observer:
    """Looks at all queues of a database, with the rights of the engine's role.

    Each method is one read-only transaction that takes ``timeout`` at most, else it raises
    ObservationTimeoutError; none reads more than a bounded number of rows, however large the table
    is. ``schema``: as for a Queue. An observer may be used by several threads.
    """

    def __init__(
        self, engine: Engine, schema: str | None = None, timeout: timedelta = _TIMEOUT
    ) -> None:
        if not isinstance(engine, Engine):
            raise InvalidArgumentError(
                f"engine must be one of xclaim.create_engine, not {type(engine).__name__}: of an "
                "asyncio engine pass another that is made from the same URL"
            )
        check_driver(engine.dialect)
        if arguments.seconds("timeout", timeout) < 0.001:  # noqa: PLR2004  (a millisecond)
            raise InvalidArgumentError(f"timeout must be a millisecond or more, not {timeout}")
        self._engine = engine
        self._schema = schema
        self._timeout = timeout

    # Queues

    def rights(self, queue: str | None = None) -> Rights:
        """Return what the role may see and do; ``queue``: to messages of this queue."""
        with self._asking("what the role may do") as question:
            return permitting.rights(question, queue)

    def queues(
        self, *, named: str = "", after: str | None = None, limit: int = 200
    ) -> list[QueueSummary]:
        """Return the queues in the order of their names, without their flow.

        Those that have a message, whatever its status, or a setting. ``named``: whose name has this
        text in it. ``after``: those behind this name, to go on.
        """
        with self._asking("which queues there are") as question:
            return listing.queues(question, named=named, after=after, limit=limit)

    def flows(self, names: Iterable[str]) -> dict[str, Flow]:
        """Return how fast these queues are worked on: for the rows of a list that are in view."""
        with self._asking("how fast the queues are worked on") as question:
            return flowing.flows(question, names)

    def queue(self, name: str) -> QueueSummary | None:
        """Return one queue with its flow. None: there is no message of it, and no setting."""
        with self._asking(f"how queue {name!r} does") as question:
            return listing.queue(question, name)

    def chart(self, name: str, what: Charted, span: timedelta) -> Chart:
        """Return how many messages were consumed, pushed or died, in 60 steps up to now."""
        with self._asking(f"what happened in queue {name!r}") as question:
            return charting.chart(question, name, what, span)

    def measures(self, *, consumed_after: datetime | None = None) -> Measures:
        """Return what a scrape of metrics needs, of the busiest queues by name.

        ``consumed_after``: the ``looked_until`` of the measures before, for what was consumed
        since.
        """
        with self._asking("what is measured") as question:
            return measuring.measures(question, consumed_after=consumed_after)

    def _asking(self, what: str) -> AbstractContextManager[Question]:
        return asking(self._engine, self._schema, self._timeout, what)

    # Messages
