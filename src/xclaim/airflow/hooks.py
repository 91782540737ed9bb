"""XclaimHook: the queue from within Airflow.

Importing this module imports nothing of the database world, so that a DAG file may name the hook
at its top: the core is loaded with the first verb.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseHook

from xclaim.airflow.identity import PushSequence, TaskIdentity, current_task

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from xclaim import Claim, Message, Queue
    from xclaim.airflow.connections import Database

LEASE = timedelta(minutes=5)
LEASE_LIMIT = timedelta(hours=12)


class _Automatic:
    """The default of ``unique_key``: made from the running task."""

    def __repr__(self) -> str:
        return "AUTOMATIC"


AUTOMATIC: Final = _Automatic()
_pushes = PushSequence()


class XclaimHook(BaseHook):
    """Push, claim and ack messages through an Airflow connection.

    Inside a task the hook fills in who claims (``dag/run/task[map]#try@host``), the claim key by
    which a retry takes its own message back, the producer's lineage as headers, and a unique key
    for each push, so that a retried push pushes nothing twice. Outside a task it fills in nothing.

    :param xclaim_conn_id: a connection of type xclaim, postgres or sqlite.
    """

    conn_name_attr = "xclaim_conn_id"
    default_conn_name = "xclaim_default"
    conn_type = "xclaim"
    hook_name = "xclaim"

    def __init__(self, xclaim_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.xclaim_conn_id = xclaim_conn_id
        self._found: Database | None = None
        self._engine: Engine | None = None
        self._engine_pid = 0

    def queue(self, name: str) -> Queue:
        """Return the plain queue on this hook's database; it fills in nothing by itself.

        :param name: the queue's name.
        """
        from xclaim import Queue

        return Queue(name, self.get_conn(), schema=self._database().schema)

    def get_conn(self) -> Engine:
        """Return the SQLAlchemy engine, made once per process."""
        from xclaim import create_engine

        if self._engine is None or self._engine_pid != os.getpid():
            # A forked child must not share the parent's sockets. The ping costs a fifth of the
            # rate, but a task may work for hours between its claim and its ack.
            self._engine = create_engine(self._database().url, pool_pre_ping=True)
            self._engine_pid = os.getpid()
        return self._engine

    def push(
        self,
        queue: str,
        payload: Any,
        *,
        unique_key: str | _Automatic | None = AUTOMATIC,
        priority: int = 0,
        delay: timedelta | None = None,
        max_attempts: int | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Message:
        """Push one payload and return its message.

        :param queue: the queue's name.
        :param payload: anything JSON can hold.
        :param unique_key: by default ``dag/run/task[map]/number of the push``, so that a retry, or
            a cleared and rerun task, gets the messages it pushed before; None pushes a new message
            each time; or a key of your own.
        :param priority: higher is claimed first.
        :param delay: how long until it can be claimed.
        :param max_attempts: after how many claims it becomes a dead letter.
        :param headers: added to the producer's lineage.
        :raises DuplicateMessageError: the key has been pushed with another payload.
        """
        keys = AUTOMATIC if isinstance(unique_key, _Automatic) else [unique_key]
        return self.push_many(
            queue,
            [payload],
            unique_keys=keys,
            priority=priority,
            delay=delay,
            max_attempts=max_attempts,
            headers=headers,
        )[0]

    def push_many(
        self,
        queue: str,
        payloads: Iterable[Any],
        *,
        unique_keys: Iterable[str | None] | _Automatic | None = AUTOMATIC,
        priority: int = 0,
        delay: timedelta | None = None,
        max_attempts: int | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> list[Message]:
        """Push the payloads in one statement and return their messages in the same order.

        :param queue: the queue's name.
        :param payloads: anything JSON can hold, each.
        :param unique_keys: one for each payload; by default as for ``push``; None for no keys.
        :param priority: higher is claimed first.
        :param delay: how long until they can be claimed.
        :param max_attempts: after how many claims one becomes a dead letter.
        :param headers: added to the producer's lineage.
        :raises DuplicateMessageError: a key has been pushed with another payload; then none is.
        """
        task = current_task()
        push_many = partial(
            self.queue(queue).push_many,
            priority=priority,
            delay=delay,
            max_attempts=max_attempts,
            headers=_with_lineage(task, headers),
        )
        if not isinstance(unique_keys, _Automatic):
            return push_many(payloads, unique_keys=unique_keys)
        if task is None or not _is_list(payloads):  # the queue says what is wrong with it
            return push_many(payloads)
        listed = list(payloads)
        with _pushes.numbers(task.instance_id, queue, len(listed)) as numbers:
            return push_many(listed, unique_keys=[task.unique_key(number) for number in numbers])

    def claim(
        self,
        queue: str,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
    ) -> Claim | None:
        """Claim the next message, or return None; a retried task first gets its own message back.

        :param queue: the queue's name.
        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance.
        :param lease: after which others may claim the message.
        """
        claimed_by, claim_key = _claimant(claimed_by, claim_key)
        return self.queue(queue).claim(claimed_by=claimed_by, claim_key=claim_key, lease=lease)

    def claim_many(
        self,
        queue: str,
        limit: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
    ) -> list[Claim]:
        """Claim up to ``limit`` messages; a retried task first gets its own back, alone.

        :param queue: the queue's name.
        :param limit: how many at most.
        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance.
        :param lease: after which others may claim the messages.
        """
        claimed_by, claim_key = _claimant(claimed_by, claim_key)
        return self.queue(queue).claim_many(
            limit, claimed_by=claimed_by, claim_key=claim_key, lease=lease
        )

    def consume(
        self,
        queue: str,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> AbstractContextManager[Claim | None]:
        """Claim for a block: ack at its end, release if it raises, keep the lease alive meanwhile.

        :param queue: the queue's name.
        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance.
        :param lease: extended from a thread, each third of it.
        :param lease_limit: how long that goes on at most.
        """
        claimed_by, claim_key = _claimant(claimed_by, claim_key)
        return self.queue(queue).consume(
            claimed_by=claimed_by, claim_key=claim_key, lease=lease, lease_limit=lease_limit
        )

    def ack(self, claim: Claim) -> None:
        """Mark the message consumed.

        :param claim: as returned by ``claim``.
        :raises ClaimLostError: it is no longer held; do not commit the work.
        """
        self.queue(claim.message.queue).ack(claim)

    def release(
        self,
        claim: Claim,
        *,
        delay: timedelta | None = None,
        error: object = None,
        count: bool = True,
    ) -> Message:
        """Give the message back.

        :param claim: as returned by ``claim``.
        :param delay: how long until it can be claimed again.
        :param error: kept as ``last_error``.
        :param count: False hands it back without counting the attempt.
        :raises ClaimLostError: it is no longer held.
        """
        return self.queue(claim.message.queue).release(claim, delay=delay, error=error, count=count)

    def extend(self, claim: Claim, *, lease: timedelta = LEASE) -> Claim:
        """Let the lease end ``lease`` from now, and return the claim with its new expiry.

        :param claim: as returned by ``claim``.
        :param lease: counted from now.
        :raises ClaimLostError: it is no longer held.
        """
        return self.queue(claim.message.queue).extend(claim, lease=lease)

    def test_connection(self) -> tuple[bool, str]:
        """Connect and compare the schema's revision: whether it fits, and what to do if not."""
        from sqlalchemy.exc import SQLAlchemyError

        from xclaim import migrate
        from xclaim.errors import XclaimError

        try:
            migrate.check(self.get_conn(), schema=self._database().schema)
        except XclaimError as error:
            return False, str(error)
        except SQLAlchemyError as error:
            return False, f"the database cannot be reached: {getattr(error, 'orig', None) or error}"
        return True, "the xclaim schema is up to date"

    def _database(self) -> Database:
        from xclaim.airflow.connections import database_of

        if self._found is None:  # asked once: in a task each question goes to the API server
            self._found = database_of(self.get_connection(self.xclaim_conn_id))
        return self._found


def _with_lineage(
    task: TaskIdentity | None, headers: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    if task is None or not isinstance(headers, Mapping | None):  # the queue refuses these
        return headers
    return {**task.lineage, **(headers or {})}


def _is_list(payloads: object) -> bool:
    return isinstance(payloads, Iterable) and not isinstance(payloads, str | bytes | Mapping)


def _claimant(claimed_by: str | None, claim_key: str | None) -> tuple[str | None, str | None]:
    task = current_task()
    if task is None:
        return claimed_by, claim_key
    return (
        task.claimed_by if claimed_by is None else claimed_by,
        task.claim_key if claim_key is None else claim_key,
    )
