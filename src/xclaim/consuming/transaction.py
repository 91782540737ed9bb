"""A claim whose ack commits together with what its block writes."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from xclaim import verbs
from xclaim.claims import Claim
from xclaim.connections import calls
from xclaim.connections.busy_files import for_a_verb
from xclaim.connections.calls import begin
from xclaim.connections.companions import Outcome
from xclaim.consuming.holding import Holding, error_of
from xclaim.errors import ClaimLostError
from xclaim.message import Message, Status
from xclaim.sql.dialects import SQLITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from xclaim.connections.runner import Runner
    from xclaim.consuming.keeping import Keeper
    from xclaim.consuming.reconnecting import Reconnecting

T = TypeVar("T")


class Transaction(Holding):
    """One claim, and a connection in a transaction that acks it."""

    is_writer = True

    def __init__(
        self,
        runner: Runner,
        again: Reconnecting,
        keeper: Keeper,
        engine: Engine,
        **leases: timedelta,
    ) -> None:
        super().__init__(runner, again, keeper, **leases)
        self._engine = engine
        self._connection: Connection | None = None
        self._is_acked = False
        self._is_settled = False  # by hand
        self._released: Message | None = None  # by hand
        self._by_hand: tuple[Outcome, object] | None = None  # what that makes of the work

    def settle_by_hand(
        self,
        claims: list[Claim],
        run: Callable[..., T],
        outcome: Outcome,
        error: object,
        hand_back: Callable[[list[Claim]], object],
    ) -> T:
        """Settle the claim in the transaction: on SQLite that is the one writer.

        Its row is locked from then on, so that the lease is extended no more.
        """
        self.end_keep_alive()
        connection = self._connection

        def settle() -> T:
            try:
                result = run() if connection is None else run(self._runner.joined(connection))
            except ClaimLostError as raised:
                lost = {claim.token for claim in raised.claims}
                self._is_settled = any(
                    self.holds(each) for each in claims if each.token not in lost
                )
                raise
            self._is_settled = True
            self._by_hand = outcome, error
            self._released = result if isinstance(result, Message) else None
            return result

        return self._runner.concurrency.finish(settle)

    def begin_transaction(self) -> tuple[Claim | None, Connection]:
        """Begin the work and a transaction for it; return the claim, if any, and the connection."""
        connection = self._runner.concurrency.finish(self._connect)
        is_sqlite = self._engine.dialect.name == SQLITE.name  # whose one writer this will be
        if self.claims.has_waiting() and not is_sqlite:
            self.keep_alive()
        self.works.begin(self.claims.waiting())
        claims = self.claims.start_all()
        return (claims[0] if claims else None), connection

    def commit(self) -> None:
        """Ack and commit. Raise ClaimLostError if the claim was lost; nothing is committed then."""
        self.works.leave()
        if not self.is_of_a_parent():
            self.end_keep_alive()
            self._runner.concurrency.finish(self._commit)

    def _connect(self) -> Connection:
        with self._runner.saying_where():
            return self._begun()

    def _begun(self) -> Connection:
        self._connection = connection = self._engine.connect()
        begin(connection)
        if getattr(connection.connection.dbapi_connection, "autocommit", False) is True:
            # An engine in autocommit: there the block would be no transaction.
            connection.execution_options(isolation_level="READ COMMITTED")
        with for_a_verb(connection):  # until the transaction has begun SQLite waits for the file
            connection.begin()
            driver: Any = connection.connection.driver_connection
            if self._engine.dialect.name == SQLITE.name and not driver.in_transaction:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
        return connection

    def _commit(self) -> None:
        claims, connection = self.claims.current(), self._connection
        if connection is not None:
            begin(connection)
            with self._runner.saying_where():
                for claim in claims:
                    self._ack(connection, claim)
                    self._is_acked = True
                connection.commit()
        self._note_commit(claims)
        self._close()

    def _ack(self, connection: Connection, claim: Claim) -> None:
        joined = self._runner.joined(connection)
        if self._is_settled and not self._is_held(joined, claim.message):
            return
        joined.run_once(verbs.ACK, claim)
        self._released = self._by_hand = None

    def _is_held(self, joined: Runner, claimed: Message) -> bool:
        """Return whether what was settled by hand is held still: the block has rolled that back."""
        found = joined.run_once(verbs.GET, claimed.queue, claimed.id)
        return found is not None and (found.status, found.claimed_at, found.attempts) == (
            Status.CLAIMED,
            claimed.claimed_at,
            claimed.attempts,
        )

    def _note_commit(self, claims: list[Claim]) -> None:
        self.is_done = True
        self.claims.settle(claims)
        self.works.settle(claims, *(self._by_hand or (Outcome.ACKED,)))
        if self._released is None:
            self._runner.delete_consumed(claims)

    def _settle(self, error: BaseException) -> None:
        self._close()
        for claim in self.claims.current():
            if not self._is_acked:
                self._release(claim, error)
            elif self._again.run(partial(self._was_committed, claim, error)):
                self._note_commit([claim])
            else:
                self._note_failure(claim, error_of(claim, error))
            self.claims.settle([claim])
        self._hand_back()

    def _was_committed(self, claim: Claim, error: BaseException) -> bool:
        """Return whether the claim was acked by a transaction whose end is not known.

        A connection may be lost during COMMIT: then only the table knows. To let the claim fail
        waits for the transaction, should it still go on, because that holds the row; and does
        nothing if the transaction has acked it.
        """
        try:
            self._fail(claim, error)
        except ClaimLostError:
            if self._released is not None:
                return self._is_as_released(claim.message, self._released)
            return not self._runner.run_once(verbs.UNCONSUMED, [claim])
        return False

    def _is_as_released(self, claimed: Message, released: Message) -> bool:
        # If it was rolled back and its lease ran out, it rests until another time.
        found = self._runner.run_once(verbs.GET, claimed.queue, claimed.id)
        return found is not None and found.available_at == released.available_at

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if calls.time_left() <= 0:
                calls.break_off(connection)
            else:
                begin(connection)
            try:
                _roll_back(connection)
            finally:
                with suppress(SQLAlchemyError):  # broken; the server rolls back what it was in
                    connection.close()


def _roll_back(connection: Connection) -> None:
    """Roll back what SQLite goes on with when it refuses a COMMIT.

    SQLAlchemy takes that for the end, and would give it to whoever has the connection next.
    """
    if connection.dialect.name != SQLITE.name or connection.closed or connection.invalidated:
        return
    pooled = connection.connection
    driver: Any = pooled.driver_connection
    with suppress(sqlite3.Error, ValueError):  # it was closed
        if driver.in_transaction:
            pooled.rollback()
