"""The door to the read model: what is to be seen of queues and messages, asked of the database."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

from sqlalchemy import Engine

from xclaim import arguments
from xclaim.connections.engine import check_driver
from xclaim.errors import InvalidArgumentError
from xclaim.observing import (
    charting,
    completing,
    flowing,
    holding,
    listing,
    lives,
    measuring,
    permitting,
    remembering,
    searching,
    working,
)
from xclaim.observing.asking import Question, asking
from xclaim.observing.times import now_of
from xclaim.observing.values import (
    Chart,
    Charted,
    Claims,
    Completion,
    DeadLetters,
    Flow,
    Found,
    Life,
    Listed,
    Matching,
    Measures,
    QueueSummary,
    Rights,
    Work,
)

TIMEOUT = timedelta(seconds=2)  # of a look, unless somebody says otherwise
_SHORTEST = timedelta(milliseconds=1)
_LONGEST = timedelta(days=1)  # PostgreSQL takes three weeks


def check_timeout(timeout: timedelta) -> None:
    """Raise InvalidArgumentError unless a look may take so long."""
    arguments.seconds("timeout", timeout)
    if not _SHORTEST <= timeout <= _LONGEST:
        raise InvalidArgumentError(
            f"timeout must be a millisecond or more, and a day at most, not {timeout}"
        )


class Observer:
    """Looks at all queues of a database, with the rights of the engine's role.

    Each method is one read-only transaction that takes ``timeout`` at most, else it raises
    ObservationTimeoutError; none reads more than a bounded number of rows, however large the table
    is. ``schema``: as for a Queue. An observer may be used by several threads.
    Of more than 50 queues some numbers are remembered for 30 seconds (``QueueSummary``), for all
    observers of the same pool, schema and role; all else is as it is when it is asked.
    """

    def __init__(
        self, engine: Engine, schema: str | None = None, timeout: timedelta = TIMEOUT
    ) -> None:
        if not isinstance(engine, Engine):
            raise InvalidArgumentError(
                f"engine must be one of xclaim.create_engine, not {type(engine).__name__}: of an "
                "asyncio engine pass another that is made from the same URL"
            )
        check_driver(engine.dialect)
        check_timeout(timeout)
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
        text in it. ``after``: those behind this name, to go on. Of many the counts are of the first
        messages of each, over what was seen ``closely`` some seconds ago.
        """
        with self._asking("which queues there are") as question:
            return listing.queues(question, named=named, after=after, limit=limit)

    def flows(self, names: Iterable[str]) -> dict[str, Flow]:
        """Return how fast these queues are worked on: for the rows of a list that are in view."""
        with self._asking("how fast the queues are worked on") as question:
            return flowing.flows(question, names)

    def closely(self, names: Iterable[str]) -> dict[str, QueueSummary]:
        """Return these queues, looked at closely: for the rows of a long list in view, 50 at most.

        Also of those that do not exist.
        """
        with self._asking("how the queues do") as question:
            return listing.closely(question, names)

    def queue(self, name: str) -> QueueSummary | None:
        """Return one queue with its flow. None: there is no message of it, and no setting."""
        with self._asking(f"how queue {name!r} does") as question:
            return listing.queue(question, name)

    def chart(self, name: str, what: Charted, span: timedelta) -> Chart:
        """Return how many messages were consumed, pushed or died, in 60 steps up to now."""
        with self._asking(f"what happened in queue {name!r}") as question:
            return charting.chart(question, name, what, span)

    def measures(
        self, *, consumed_after: datetime | None = None, named: Iterable[str] = ()
    ) -> Measures:
        """Return what a scrape of metrics needs, of the busiest queues by name.

        ``consumed_after``: the ``looked_until`` of the measures before, for what was consumed
        since. ``named``: the queues of the measures before; of those about as busy they keep their
        names.
        """
        with self._asking("what is measured") as question:
            return measuring.measures(question, consumed_after=consumed_after, named=named)

    def _asking(self, what: str) -> AbstractContextManager[Question]:
        return asking(self._engine, self._schema, self._timeout, what)

    def forget(self) -> None:
        """Look anew at what is remembered of many queues for some seconds: something was done."""
        remembering.forget(self._engine.pool)

    # Messages

    def search(self, filter: str = "", *, limit: int = 50, before: str | None = None) -> Found:
        """Return messages that a filter is about, 500 at most, in the order that the answer says.

        ``before`` is the cursor ``older`` of what was found last. No payload that is encoded or in
        a storage is searched. Raise FilterError for a filter or cursor that is none.
        """
        return searching.search(self._asking, self._timeout, filter, limit=limit, before=before)

    def completions(self, text: str) -> list[Completion]:
        """Return what the last word of a filter may become."""
        return completing.completions(self._asking, text)

    def message(self, message_id: int) -> Life | None:
        """Return a message with all that is known of it, None if there is no such message."""
        return lives.life(self._asking, message_id)

    def claims(
        self, queue: str | None = None, *, limit: int = 100, after: str | None = None
    ) -> Claims:
        """Return who holds what, those whose lease ends first before the others.

        Of a queue and its dead letters, or by queue. ``after`` is the cursor ``next``.
        """
        return holding.claims(self._asking, queue, limit=limit, after=after)

    def failing(self, queue: str, limit: int = 50) -> list[Listed]:
        """Return messages of a queue that failed and are tried again, the next try first."""
        return holding.failing(self._asking, self._timeout, queue, limit)

    def dead_letters(self, queue: str | None = None) -> DeadLetters:
        """Return the dead letters of a queue, or of all, by their error: the newest of each."""
        return holding.dead_letters(self._asking, self._timeout, queue)

    def work(
        self,
        dag_id: str,
        run_id: str,
        task_id: str | None = None,
        map_index: int | None = None,
        *,
        limit: int = 50,
        before: str | None = None,
    ) -> Work:
        """Return what an Airflow task, or all of a run, has pushed, holds, consumed and failed.

        ``map_index`` -1 is a task that is not mapped, None any. ``before`` is the cursor ``older``.
        """
        of = (dag_id, run_id, task_id, map_index)
        return working.work(self._asking, self._timeout, of, limit=limit, before=before)

    def matching(self, filter: str, *, limit: int) -> Matching:
        """Return the ids of the messages that a filter is about, 10,000 at most."""
        return searching.matching(self._asking, self._timeout, filter, limit=limit)

    def still_matching(self, filter: str, ids: Iterable[int]) -> Matching:
        """Return which of these messages, 10,000 at most, a filter is about now, and no others."""
        return searching.still_matching(self._asking, self._timeout, filter, ids)

    # Actions

    def now(self) -> datetime:
        """Return the time by the database's clock, which the times of its messages go by."""
        with self._asking("what time it is") as question:
            return now_of(question)
