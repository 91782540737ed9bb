"""The door to the read model: what is to be seen of queues and messages, asked of the database."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta

from sqlalchemy import Engine

from xclaim import arguments
from xclaim.connections.engine import check_driver
from xclaim.errors import InvalidArgumentError
from xclaim.observing.asking import Question, asking

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

    def _asking(self, what: str) -> AbstractContextManager[Question]:
        return asking(self._engine, self._schema, self._timeout, what)

    # Messages
