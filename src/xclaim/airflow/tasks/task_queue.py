"""TaskQueue: a queue that knows the running task, as ``XclaimHook.queue`` returns it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, Unpack, overload

from sqlalchemy import Connection

from xclaim import Claim, Message, Payloads, Queue, Ticket
from xclaim.airflow import stats
from xclaim.airflow.assets import queue_uri
from xclaim.airflow.lineage import LineageReports
from xclaim.airflow.tasks import open_claims
from xclaim.airflow.tasks.failing import (
    OnDead,
    OnError,
    TaskKeeper,
    checked_on_dead,
    checked_on_error,
)
from xclaim.airflow.tasks.identity import (
    AUTOMATIC,
    Automatic,
    TaskIdentity,
    current_task,
    identity_of,
    pushes,
    running_instance,
)
from xclaim.airflow.tasks.rerun import OnRerun, checked_policy, replace_unconsumed
from xclaim.airflow.tasks.tickets import resumption_key
from xclaim.arguments import LEASE, LEASE_LIMIT, Loud, OnFull, PushOptions, WhenDead
from xclaim.errors import InvalidArgumentError
from xclaim.message import T_co
from xclaim.queues.placing import Placed, Split
from xclaim.retry import MAX_ATTEMPTS, RETRY, Retry

_T = TypeVar("_T")


class TaskQueue(Queue[T_co]):
    """A queue that fills in what it is not told, from the task that is running.

    Who claims (``dag/run/task[map]#try@host``), the claim key by which a retry takes its own
    message back, the producer's lineage as headers, and a unique key for each push, so that a
    retried push pushes nothing twice. Outside a task it fills in nothing and is a ``Queue``.

    :param name: the queue's name.
    :param where: with an engine, on which each verb is a transaction of its own; or those of a
        split queue.
    :param lineage: where it reports what a task pushes and claims.
    :param retry: as of a ``Queue``.
    :param on_error: whether a task that raises keeps its message for its own ``retry``, or has it
        released at once: ``release``.
    :param on_dead: whether a task whose message has become a dead letter is to ``fail``, or to
        ``ignore`` that.
    :param type: as of a ``Queue``.
    :param payloads: as of a ``Queue``.
    """

    def __init__(
        self,
        name: str,
        where: Placed | Split,
        *,
        lineage: LineageReports,
        retry: Retry = RETRY,
        on_error: str = OnError.RETRY,
        on_dead: str = OnDead.FAIL,
        type: type[T_co] | None = None,
        payloads: Payloads | None = None,
    ) -> None:
        is_split = isinstance(where, Split)
        first = where.places[0] if isinstance(where, Split) else where
        bind: Any = where  # which only the hook can say
        super().__init__(name, bind, retry=retry, type=type, payloads=payloads)
        self.keeper = self._queue.keeper = TaskKeeper(
            self, self._queue, checked_on_error(on_error), checked_on_dead(on_dead)
        )
        if running_instance() is not None:  # a task's log tells of its messages, one by one
            self._queue.log_level = logging.INFO
            stats.of_tasks()
        self._transaction = None if is_split else first.bind.begin
        self._joined_queue = partial(
            _queue_at, first, name, retry=retry, type=type, payloads=payloads
        )
        self._lineage = lineage
        self._asset_uri = queue_uri(first.bind.url, name)

    @overload
    def push(
        self,
        payload: Any,
        *,
        on_full: Loud | None = None,
        unique_key: str | Automatic | None = ...,
        ordering_key: str | None = ...,
        on_rerun: str = ...,
        **options: Unpack[PushOptions],
    ) -> Message[T_co]: ...

    @overload
    def push(
        self,
        payload: Any,
        *,
        on_full: OnFull | None,
        unique_key: str | Automatic | None = ...,
        ordering_key: str | None = ...,
        on_rerun: str = ...,
        **options: Unpack[PushOptions],
    ) -> Message[T_co] | None: ...

    def push(
        self,
        payload: Any,
        *,
        unique_key: str | Automatic | None = AUTOMATIC,
        on_rerun: str = OnRerun.SKIP,
        priority: int = 0,
        delay: timedelta | None = None,
        max_attempts: int | None = MAX_ATTEMPTS,
        headers: Mapping[str, Any] | None = None,
        ordering_key: str | None = None,
        on_dead: WhenDead = "skip",
        max_backlog: int | None = None,
        on_full: OnFull | None = None,
        wait: timedelta | None = None,
    ) -> Message[T_co] | None:
        """Push one payload and return its message.

        :param payload: anything the queue can hold.
        :param unique_key: by default ``dag/run/task[map]/number of the push``, so that a retry gets
            the messages it pushed before; None pushes a new message each time; or one of your own.
        :param on_rerun: what a task that was cleared does with what it pushed before its run:
            ``skip``, ``replace_unconsumed`` or ``new``. Only with the automatic key.
        :param priority: higher is claimed first.
        :param delay: how long until it can be claimed.
        :param max_attempts: after how many claims it becomes a dead letter.
        :param headers: added to the producer's lineage.
        :param ordering_key: of the messages with the same one, one at a time is claimed, in the
            order of their pushes.
        :param on_dead: what a dead letter does with its line: ``skip`` lets the next one pass,
            ``hold`` waits until it is redriven, acked or withdrawn.
        :param max_backlog: how many messages may wait, by default as set for the queue.
        :param on_full: what happens when so many do: ``raise``, ``wait`` for room, or ``skip``,
            which returns None; by default as set for the queue.
        :param wait: for how long to wait for room, by default a minute.
        :raises DuplicateMessageError: the key has been pushed with another payload.
        :raises QueueFullError: there was no room.
        """
        return self.push_many(
            [payload],
            unique_keys=unique_key if isinstance(unique_key, Automatic) else [unique_key],
            on_rerun=on_rerun,
            priority=priority,
            delay=delay,
            max_attempts=max_attempts,
            headers=headers,
            ordering_keys=None if ordering_key is None else [ordering_key],
            on_dead=on_dead,
            max_backlog=max_backlog,
            on_full=on_full,
            wait=wait,
        )[0]

    @overload
    def push_many(
        self,
        payloads: Iterable[Any],
        *,
        on_full: Loud | None = None,
        unique_keys: Iterable[str | None] | Automatic | None = ...,
        ordering_keys: Iterable[str | None] | None = ...,
        on_rerun: str = ...,
        **options: Unpack[PushOptions],
    ) -> list[Message[T_co]]: ...

    @overload
    def push_many(
        self,
        payloads: Iterable[Any],
        *,
        on_full: OnFull | None,
        unique_keys: Iterable[str | None] | Automatic | None = ...,
        ordering_keys: Iterable[str | None] | None = ...,
        on_rerun: str = ...,
        **options: Unpack[PushOptions],
    ) -> list[Message[T_co] | None]: ...

    def push_many(
        self,
        payloads: Iterable[Any],
        *,
        unique_keys: Iterable[str | None] | Automatic | None = AUTOMATIC,
        on_rerun: str = OnRerun.SKIP,
        priority: int = 0,
        delay: timedelta | None = None,
        max_attempts: int | None = MAX_ATTEMPTS,
        headers: Mapping[str, Any] | None = None,
        ordering_keys: Iterable[str | None] | None = None,
        on_dead: WhenDead = "skip",
        max_backlog: int | None = None,
        on_full: OnFull | None = None,
        wait: timedelta | None = None,
    ) -> list[Message[T_co]] | list[Message[T_co] | None]:
        """Push the payloads in one statement and return their messages in the same order.

        :param payloads: anything the queue can hold, each.
        :param unique_keys: one for each payload; by default as for ``push``; None for no keys.
        :param on_rerun: as for ``push``.
        :param priority: higher is claimed first.
        :param delay: how long until they can be claimed.
        :param max_attempts: after how many claims one becomes a dead letter.
        :param headers: added to the producer's lineage.
        :param ordering_keys: one, or None, for each payload.
        :param on_dead: as for ``push``.
        :param max_backlog: as for ``push``.
        :param on_full: as for ``push``; with ``skip`` None stands for what was not pushed.
        :param wait: as for ``push``.
        :raises DuplicateMessageError: a key has been pushed with another payload; then none is.
        """
        policy = checked_policy(on_rerun, is_automatic=isinstance(unique_keys, Automatic))
        task = current_task()
        options: dict[str, Any] = {
            "priority": priority,
            "delay": delay,
            "max_attempts": max_attempts,
            "headers": _with_lineage(task, headers),
            "ordering_keys": ordering_keys,
            "on_dead": on_dead,
            "max_backlog": max_backlog,
            "on_full": on_full,
            "wait": wait,
        }
        if task is not None:
            self._lineage.pushed(task.instance_id, self._asset_uri)
        if not isinstance(unique_keys, Automatic):
            return super().push_many(payloads, unique_keys=unique_keys, **options)
        if task is None or not _is_list(payloads):  # the queue says what is wrong with it
            return super().push_many(payloads, **options)
        listed = list(payloads)
        with pushes.numbers(task.instance_id, self.name, len(listed)) as numbers:
            return self._push_numbered(task, numbers, listed, policy, options)

    def claim_many(
        self,
        limit: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        whole_lines: bool = False,
        wait: timedelta | None = None,
    ) -> list[Claim[T_co]]:
        """Claim up to ``limit`` messages; a retried task first gets its own back, alone.

        As ``Queue.claim_many``. What is still claimed when the task fails for good is released.

        :param limit: how many at most.
        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance.
        :param lease: after which others may claim the messages.
        :param whole_lines: claim along those in line behind a message with an ordering key.
        :param wait: how long to wait for the first message, at most.
        """
        who = self._as_task(claimed_by, claim_key)
        claims = super().claim_many(limit, lease=lease, whole_lines=whole_lines, wait=wait, **who)
        return self._noted_as_open(claims)

    def _claim_everywhere(
        self, limit: int, *, claimed_by: str | None, claim_key: str | None, lease: timedelta
    ) -> list[Claim[T_co]]:
        """Claim as ``claim_many``; ``[]`` only if nothing is in any place of a split queue."""
        who = {**self._as_task(claimed_by, claim_key), "lease": lease}
        return self._noted_as_open(self._queue.claim_everywhere(limit, who))

    def claim_message(
        self,
        message_id: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
    ) -> Claim[T_co] | None:
        """Claim this one message, or return None if it cannot be claimed now.

        A retried task has it back at once from its earlier try.

        :param message_id: the message's.
        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance, and the message.
        :param lease: after which others may claim the message.
        """
        task = current_task()
        if task is not None and claim_key is None:
            claim_key = task.message_key(message_id)  # else a later claim would take it back
        who = self._as_task(claimed_by, claim_key)
        claim = super().claim_message(message_id, lease=lease, **who)
        return None if claim is None else self._noted_as_open([claim])[0]

    def resume(
        self,
        ticket: Ticket,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
    ) -> list[Claim[T_co]]:
        """Take over the claims of a ticket; ``[]`` if nothing is held for it any more.

        :param ticket: the value; for the dict of an XCom see ``XclaimHook.resume``.
        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance, and the ticket.
        :param lease: counted from now.
        """
        task = current_task()
        if task is not None and claim_key is None and isinstance(ticket, Ticket):
            claim_key = resumption_key(task, ticket)
        who = self._as_task(claimed_by, claim_key)
        return self._noted_as_open(super().resume(ticket, lease=lease, **who))

    def consume(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        wait: timedelta | None = None,
        retry: Retry | None = None,
    ) -> AbstractContextManager[Claim[T_co] | None]:
        """Claim a message for a block: ack it at the end, release it if the block raises.

        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance.
        :param lease: extended from a thread, each third of it.
        :param lease_limit: how long that goes on at most.
        :param wait: how long to wait for a message, at most.
        :param retry: how what fails is tried again, by default as the queue says.
        """
        who = self._as_task(claimed_by, claim_key)
        block = super().consume(lease=lease, lease_limit=lease_limit, wait=wait, retry=retry, **who)
        return self._failing_if_dead(block)

    def consume_many(
        self,
        limit: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        whole_lines: bool = False,
        lease_limit: timedelta = LEASE_LIMIT,
        wait: timedelta | None = None,
        retry: Retry | None = None,
    ) -> AbstractContextManager[list[Claim[T_co]]]:
        """Claim up to ``limit`` messages for a block: ack them all at the end, or release them all.

        :param limit: how many at most.
        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance.
        :param lease: extended from a thread, each third of it.
        :param whole_lines: claim along those in line behind a message with an ordering key.
        :param lease_limit: how long that goes on at most.
        :param wait: how long to wait for a message, at most.
        :param retry: how what fails is tried again, by default as the queue says.
        """
        who = self._as_task(claimed_by, claim_key)
        block = super().consume_many(
            limit,
            lease=lease,
            whole_lines=whole_lines,
            lease_limit=lease_limit,
            wait=wait,
            retry=retry,
            **who,
        )
        return self._failing_if_dead(block)

    @contextmanager
    def working_on(
        self,
        claims: Iterable[Claim[T_co]],
        *,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        retry: Retry | None = None,
    ) -> Iterator[list[Claim[T_co]]]:
        """Hold claims for a block: ack them at its end, release them if it raises.

        :param claims: as returned by ``claim_many`` or ``resume``.
        :param lease: extended from a thread, each third of it.
        :param lease_limit: how long that goes on at most.
        :param retry: how what fails is tried again, by default as the queue says.
        """
        block = super().working_on(claims, lease=lease, lease_limit=lease_limit, retry=retry)
        with self._failing_if_dead(block) as held:
            open_claims.forget(held)  # the block settles them
            yield held

    def transact(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        wait: timedelta | None = None,
        retry: Retry | None = None,
    ) -> AbstractContextManager[tuple[Claim[T_co] | None, Connection]]:
        """Claim for a block whose own writes commit together with the ack, or not at all.

        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance.
        :param lease: extended from a thread, each third of it.
        :param lease_limit: how long that goes on at most.
        :param wait: how long to wait for a message, at most.
        :param retry: how what fails is tried again, by default as the queue says.
        """
        who = self._as_task(claimed_by, claim_key)
        block = super().transact(
            lease=lease, lease_limit=lease_limit, wait=wait, retry=retry, **who
        )
        return self._failing_if_dead(block)

    def stream(
        self,
        *,
        batch: int = 100,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        whole_lines: bool = False,
        lease_limit: timedelta = LEASE_LIMIT,
        wait: timedelta | None = None,
        retry: Retry | None = None,
    ) -> Iterator[Claim[T_co]]:
        """Claim and yield messages until there is none; what you finished is acked for you.

        As ``Queue.stream``. A retried task first gets back what its earlier try had claimed ahead.

        :param batch: how many to claim ahead.
        :param claimed_by: by default the running try.
        :param claim_key: by default the running task instance.
        :param lease: extended from a thread, each third of it.
        :param whole_lines: claim along those in line behind a message with an ordering key.
        :param lease_limit: how long that goes on at most.
        :param wait: end only when there was no message for so long.
        :param retry: how what fails is tried again, by default as the queue says.
        """
        who = self._as_task(claimed_by, claim_key)
        claims = super().stream(
            batch=batch,
            lease=lease,
            whole_lines=whole_lines,
            lease_limit=lease_limit,
            wait=wait,
            retry=retry,
            **who,
        )
        stream = self._stream_failing_if_dead(claims)
        task = current_task()
        if task is not None:
            open_claims.note_stream(task.instance_id, stream)
        return stream

    def ack(self, claim: Claim) -> None:
        """Mark the message consumed.

        :param claim: as returned by ``claim``.
        :raises ClaimLostError: it is no longer held; do not commit the work.
        """
        with open_claims.settling([claim]):
            super().ack(claim)

    def ack_many(self, claims: Iterable[Claim]) -> None:
        """Mark the messages consumed, in one statement.

        :param claims: as returned by ``claim_many`` or ``resume``.
        :raises ClaimLostError: some are no longer held, which it names; the others were acked.
        """
        listed = list(claims)
        with open_claims.settling(listed):
            super().ack_many(listed)

    def release(
        self,
        claim: Claim,
        *,
        delay: timedelta | None = None,
        error: object = None,
        count: bool = True,
        retry: Retry | None = None,
    ) -> Message[T_co]:
        """Give the message back, and return it as it is now.

        :param claim: as returned by ``claim``.
        :param delay: how long until it can be claimed again; with an error by default as the
            queue's ``retry`` says, without one at once.
        :param error: why the attempt failed, an exception or a text, which is kept.
        :param count: False hands it back without counting the attempt.
        :param retry: by default that of the block that holds it, else the queue's;
            ``Retry(max_attempts=1)`` gives it up at once.
        :raises ClaimLostError: it is no longer held.
        """
        with open_claims.settling([claim]):
            message = super().release(claim, delay=delay, error=error, count=count, retry=retry)
        self.keeper.released(message)
        return message

    def _push_numbered(
        self,
        task: TaskIdentity,
        numbers: range,
        payloads: list[Any],
        policy: OnRerun,
        options: dict[str, Any],
    ) -> list[Message[T_co]] | list[Message[T_co] | None]:
        if policy is OnRerun.REPLACE_UNCONSUMED and task.first_try > 1:
            if self._transaction is None:
                raise InvalidArgumentError(
                    f"on_rerun={policy.value!r} needs one transaction, and queue {self.name!r} is "
                    "split: choose another one, or push to one of its parts"
                )
            with self._queue.saying_where(), self._transaction() as connection:
                joined = self._joined_queue(connection)
                joined._queue.log_level = self._queue.log_level  # noqa: SLF001
                # Without room what was to be replaced stays, because all of this is rolled back.
                options |= {"on_full": "raise", "wait": None}
                return replace_unconsumed(joined, task, numbers, payloads, options)
        key = task.unique_key_of_rerun if policy is OnRerun.NEW else task.unique_key
        keys = [key(number) for number in numbers]
        return super().push_many(payloads, unique_keys=keys, **options)

    def _as_task(self, claimed_by: str | None, claim_key: str | None) -> dict[str, Any]:
        """Return who claims, as the running task where nothing is given, and report the claim."""
        instance = running_instance()
        if instance is not None:
            task = identity_of(instance)
            self.keeper.note_claimant(instance)
            self._lineage.claimed(task.instance_id, self._asset_uri)
            claimed_by = task.claimed_by if claimed_by is None else claimed_by
            claim_key = task.claim_key if claim_key is None else claim_key
            if task.is_retry:
                self.keeper.fail_if_spent(task, claimed_by, claim_key)
        return {"claimed_by": claimed_by, "claim_key": claim_key}

    def _noted_as_open(self, claims: list[Claim[T_co]]) -> list[Claim[T_co]]:
        task = current_task()
        if task is not None:
            open_claims.note(task.instance_id, claims, self.keeper)
        return claims

    @contextmanager
    def _failing_if_dead(self, block: AbstractContextManager[_T]) -> Iterator[_T]:
        with block as value:
            yield value
        self.keeper.fail_if_dead()

    def _stream_failing_if_dead(self, claims: Iterator[Claim[T_co]]) -> Iterator[Claim[T_co]]:
        yield from claims
        self.keeper.fail_if_dead()


def _with_lineage(
    task: TaskIdentity | None, headers: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    if task is None or not isinstance(headers, Mapping | None):  # the queue refuses these
        return headers
    return {**task.lineage, **(headers or {})}


def _is_list(payloads: object) -> bool:
    return isinstance(payloads, Iterable) and not isinstance(payloads, str | bytes | Mapping)


def _queue_at(where: Placed, name: str, connection: Connection, **options: Any) -> Queue[Any]:
    """Return the queue on a connection to where it is."""
    bind: Any = replace(where, bind=connection)
    return Queue(name, bind, **options)
