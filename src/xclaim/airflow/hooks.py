"""XclaimHook: the queue from within Airflow.

Importing this module imports nothing of the database world, so that a DAG file may name the hook
at its top: the core is loaded with the first verb.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseHook

from xclaim.airflow.assets import queue_uri, report_lineage
from xclaim.airflow.tasks import open_claims
from xclaim.airflow.tasks.identity import PushSequence, TaskIdentity, claimant, current_task
from xclaim.airflow.tasks.rerun import OnRerun, checked_policy, replace_unconsumed
from xclaim.airflow.tasks.tickets import (
    TICKET_LEASE,
    checked_batches,
    resumer,
    ticket_claimant,
    ticket_from_xcom,
    ticket_to_xcom,
    was_settled,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from xclaim import Claim, Message, Payloads, Queue
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
    :param payloads: how payloads are stored; by default as the connection's extras say
        (``xclaim_storage``, ``xclaim_storage_threshold``, ``xclaim_storage_options``,
        ``xclaim_encryption``), else as the environment says, else in the row.
    :param fallback: how they are stored if the connection does not say.
    """

    conn_name_attr = "xclaim_conn_id"
    default_conn_name = "xclaim_default"
    conn_type = "xclaim"
    hook_name = "xclaim"

    def __init__(
        self,
        xclaim_conn_id: str = default_conn_name,
        *,
        payloads: Payloads | None = None,
        fallback: Payloads | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.xclaim_conn_id = xclaim_conn_id
        self._payloads = payloads
        self._fallback = fallback
        self._found: Database | None = None
        self._engine: Engine | None = None
        self._engine_pid = 0
        self._reported: set[tuple[str, bool]] = set()

    def queue(self, name: str, *, type: Any = None) -> Queue:
        """Return the plain queue on this hook's database; it fills in nothing by itself.

        :param name: the queue's name.
        :param type: what its payloads are: a dataclass, a TypedDict or a pydantic model.
        """
        from xclaim import Queue

        return Queue(name, self.get_conn(), type=type, **self._options())

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
        on_rerun: str = OnRerun.SKIP,
        priority: int = 0,
        delay: timedelta | None = None,
        max_attempts: int | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> Message:
        """Push one payload and return its message.

        :param queue: the queue's name.
        :param payload: anything JSON can hold.
        :param unique_key: by default ``dag/run/task[map]/number of the push``, so that a retry gets
            the messages it pushed before; None pushes a new message each time; or one of your own.
        :param on_rerun: what a task that was cleared does with what it pushed before its run:
            ``skip``, ``replace_unconsumed`` or ``new``. Only with the automatic key.
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
            on_rerun=on_rerun,
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
        on_rerun: str = OnRerun.SKIP,
        priority: int = 0,
        delay: timedelta | None = None,
        max_attempts: int | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> list[Message]:
        """Push the payloads in one statement and return their messages in the same order.

        :param queue: the queue's name.
        :param payloads: anything JSON can hold, each.
        :param unique_keys: one for each payload; by default as for ``push``; None for no keys.
        :param on_rerun: as for ``push``.
        :param priority: higher is claimed first.
        :param delay: how long until they can be claimed.
        :param max_attempts: after how many claims one becomes a dead letter.
        :param headers: added to the producer's lineage.
        :raises DuplicateMessageError: a key has been pushed with another payload; then none is.
        """
        policy = checked_policy(on_rerun, is_automatic=isinstance(unique_keys, _Automatic))
        task = current_task()
        options: dict[str, Any] = {
            "priority": priority,
            "delay": delay,
            "max_attempts": max_attempts,
            "headers": _with_lineage(task, headers),
        }
        self._report_lineage(queue, is_output=True)
        if not isinstance(unique_keys, _Automatic):
            return self.queue(queue).push_many(payloads, unique_keys=unique_keys, **options)
        if task is None or not _is_list(payloads):  # the queue says what is wrong with it
            return self.queue(queue).push_many(payloads, **options)
        listed = list(payloads)
        with _pushes.numbers(task.instance_id, queue, len(listed)) as numbers:
            return self._push_numbered(
                queue, listed, task=task, numbers=numbers, policy=policy, options=options
            )

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
        claims = self.claim_many(queue, 1, claimed_by=claimed_by, claim_key=claim_key, lease=lease)
        return claims[0] if claims else None

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
        who = claimant(claimed_by, claim_key)
        self._report_lineage(queue, is_output=False)
        return self._noted(self.queue(queue).claim_many(limit, lease=lease, **who))

    def claim_message(
        self,
        queue: str,
        message_id: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
    ) -> Claim | None:
        """Claim this one message, or return None if it cannot be claimed now.

        A retried task has it back at once from its earlier try.

        :param queue: the queue's name.
        :param message_id: the message's.
        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance, and the message.
        :param lease: after which others may claim the message.
        """
        task = current_task()
        if task is not None and claim_key is None:
            claim_key = task.message_key(message_id)  # else a later claim would take it back
        who = claimant(claimed_by, claim_key)
        self._report_lineage(queue, is_output=False)
        claim = self.queue(queue).claim_message(message_id, lease=lease, **who)
        return None if claim is None else self._noted([claim])[0]

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
        who = claimant(claimed_by, claim_key)
        self._report_lineage(queue, is_output=False)
        return self.queue(queue).consume(lease=lease, lease_limit=lease_limit, **who)

    def consume_many(
        self,
        queue: str,
        limit: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> AbstractContextManager[list[Claim]]:
        """Do as ``consume`` with up to ``limit`` messages, which are acked or released together.

        :param queue: the queue's name.
        :param limit: how many at most.
        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance.
        :param lease: extended from a thread, each third of it.
        :param lease_limit: how long that goes on at most.
        """
        who = claimant(claimed_by, claim_key)
        self._report_lineage(queue, is_output=False)
        return self.queue(queue).consume_many(limit, lease=lease, lease_limit=lease_limit, **who)

    def transact(
        self,
        queue: str,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> AbstractContextManager[tuple[Claim | None, Connection]]:
        """Claim for a block whose own writes commit together with the ack, or not at all.

        :param queue: the queue's name.
        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance.
        :param lease: extended from a thread, each third of it.
        :param lease_limit: how long that goes on at most.
        """
        who = claimant(claimed_by, claim_key)
        self._report_lineage(queue, is_output=False)
        return self.queue(queue).transact(lease=lease, lease_limit=lease_limit, **who)

    def claim_ticket(
        self, queue: str, size: int = 1, *, lease: timedelta = TICKET_LEASE
    ) -> dict[str, Any] | None:
        """Claim up to ``size`` messages for another task; return the ticket, None if none is there.

        The ticket is a plain dict for an XCom; the other task passes it to ``resume``. A retry of
        this task gets the same messages again, unless they have been resumed.

        :param queue: the queue's name.
        :param size: how many messages the ticket is for, at most.
        :param lease: how long the ticket may wait to be resumed; then the messages go back.
        """
        self._report_lineage(queue, is_output=False)
        with ticket_claimant(queue) as who:
            claims = self.queue(queue).claim_many(size, lease=lease, **who.keys)
            who.has_claimed = bool(claims)
        return ticket_to_xcom(self.xclaim_conn_id, claims) if claims else None

    def claim_batches(
        self,
        queue: str,
        size: int,
        max_batches: int | None = None,
        *,
        lease: timedelta = TICKET_LEASE,
    ) -> list[dict[str, Any]]:
        """Claim messages in batches for mapped tasks; return a ticket for each, to expand over.

        :param queue: the queue's name.
        :param size: how many messages a ticket is for, at most.
        :param max_batches: how many tickets at most; by default, and never more than, Airflow's
            ``[core] max_map_length``, over which nothing can be expanded.
        :param lease: how long the tickets may wait to be resumed; then the messages go back.
        """
        tickets: list[dict[str, Any]] = []
        for _ in range(checked_batches(max_batches)):
            ticket = self.claim_ticket(queue, size, lease=lease)
            if ticket is None:
                break
            tickets.append(ticket)
        return tickets

    def resume(self, ticket: Mapping[str, Any], *, lease: timedelta = LEASE) -> list[Claim]:
        """Take over the claims of a ticket; the first task to do so has them, and its retries.

        A retry gets what its earlier try has not settled; ``[]`` if that was everything.

        :param ticket: as ``claim_ticket``, ``claim_batches``, ClaimOperator or ClaimSensor
            returned it.
        :param lease: counted from now.
        :raises InvalidArgumentError: it is no ticket, or was changed.
        :raises TicketLostError: nothing is held for it any more.
        """
        from xclaim import TicketLostError

        known = ticket_from_xcom(ticket)
        task = current_task()
        queue = self.queue(known.queue)
        claims = queue.resume(known, lease=lease, **resumer(task, known))
        if not claims and not was_settled(queue, ticket, task):
            raise TicketLostError(known)
        return self._noted(claims)

    @contextmanager
    def consume_ticket(
        self,
        ticket: Mapping[str, Any],
        *,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> Iterator[list[Claim]]:
        """Resume a ticket for a block: ack at its end, release if it raises.

        :param ticket: as for ``resume``.
        :param lease: extended from a thread, each third of it.
        :param lease_limit: how long that goes on at most.
        :raises InvalidArgumentError: it is no ticket, or was changed.
        :raises TicketLostError: nothing is held for it any more.
        """
        claims = self.resume(ticket, lease=lease)
        open_claims.forget(claims)  # the block settles them
        if not claims:
            yield claims
            return
        queue = self.queue(claims[0].message.queue)
        with queue.working_on(claims, lease=lease, lease_limit=lease_limit):
            yield claims

    def ack(self, claim: Claim) -> None:
        """Mark the message consumed.

        :param claim: as returned by ``claim``.
        :raises ClaimLostError: it is no longer held; do not commit the work.
        """
        self.ack_many([claim])

    def ack_many(self, claims: Iterable[Claim]) -> None:
        """Mark the messages consumed, in one statement for each queue.

        :param claims: as returned by ``claim_many`` or ``resume``.
        :raises ClaimLostError: some are no longer held, which it names; the others were acked.
        """
        by_queue: dict[str, list[Claim]] = {}
        for claim in claims:
            by_queue.setdefault(claim.message.queue, []).append(claim)
        for queue, of_queue in by_queue.items():
            open_claims.forget(of_queue)
            self.queue(queue).ack_many(of_queue)

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
        open_claims.forget([claim])
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

        from xclaim.errors import XclaimError
        from xclaim.operations import migrate

        try:
            migrate.check(self.get_conn(), schema=self._database().schema)
        except XclaimError as error:
            return False, str(error)
        except SQLAlchemyError as error:
            return False, f"the database cannot be reached: {getattr(error, 'orig', None) or error}"
        return True, "the xclaim schema is up to date"

    def _push_numbered(
        self,
        queue: str,
        payloads: list[Any],
        *,
        task: TaskIdentity,
        numbers: range,
        policy: OnRerun,
        options: dict[str, Any],
    ) -> list[Message]:
        if policy is OnRerun.REPLACE_UNCONSUMED and task.first_try > 1:
            with self.get_conn().begin() as connection:
                joined = self._queue_on(connection, queue)
                return replace_unconsumed(joined, task, numbers, payloads, options)
        key = task.unique_key_of_rerun if policy is OnRerun.NEW else task.unique_key
        keys = [key(number) for number in numbers]
        return self.queue(queue).push_many(payloads, unique_keys=keys, **options)

    def _queue_on(self, connection: Connection, name: str) -> Queue:
        from xclaim import Queue

        return Queue(name, connection, **self._options())

    def _options(self) -> dict[str, Any]:
        database = self._database()
        payloads = self._payloads or database.payloads or self._fallback
        return {"schema": database.schema, "payloads": payloads}

    def _noted(self, claims: list[Claim]) -> list[Claim]:
        task = current_task()
        if task is not None:
            open_claims.note(task.instance_id, claims, self._release_because)
        return claims

    def _release_because(self, claim: Claim, reason: str) -> None:
        self.release(claim, error=reason)

    def _report_lineage(self, queue: str, *, is_output: bool) -> None:
        # Once for each queue: collectors keep a hundred assets, and a task may claim a million.
        if current_task() is None or (queue, is_output) in self._reported:
            return
        self._reported.add((queue, is_output))
        report_lineage(self, queue_uri(self._database().url, queue), is_output=is_output)

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
