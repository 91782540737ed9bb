"""Operators: push, claim, ack, release, and keep a queue tidy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from xclaim.airflow.versions import AirflowException, AirflowSkipException

from airflow.sdk import BaseOperator

from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.lineage import operator_lineage
from xclaim.airflow.links import LinkedToMessages
from xclaim.airflow.tasks.failing import OnDead, checked_on_dead
from xclaim.airflow.tasks.hidden import Hidden, revealed
from xclaim.airflow.tasks.identity import AUTOMATIC, current_task
from xclaim.airflow.tasks.rerun import OnRerun
from xclaim.airflow.tasks.room import vacancy_of
from xclaim.airflow.tasks.tickets import TICKET_LEASE
from xclaim.arguments import (
    MAX_LIMIT,
    OnFull,
    WhenDead,
    optional_max_backlog,
    optional_on_full,
    optional_seconds,
    seconds,
    whole_number,
)
from xclaim.errors import InvalidArgumentError, TicketLostError
from xclaim.retry import MAX_ATTEMPTS, RETRY, Retry, checked_retry

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context, XComArg

    from xclaim import Claim
    from xclaim.limits import Vacancy

__all__ = [
    "AckOperator",
    "ClaimOperator",
    "MaintenanceOperator",
    "OnEmpty",
    "PushOperator",
    "ReleaseOperator",
]


_CONFIDENTIAL = (
    "payloads",
    "unique_keys",
    "ordering_keys",
    "headers",
)  # of a push: the others often tell a part


class OnEmpty(StrEnum):
    """How a task ends that found nothing to claim."""

    SKIP = "skip"
    SUCCEED = "succeed"
    FAIL = "fail"


def checked_on_empty(value: str) -> OnEmpty:
    """Return the choice. Raise InvalidArgumentError if there is none of that name.

    :param value: its name.
    """
    try:
        return OnEmpty(value)
    except ValueError as error:
        raise InvalidArgumentError(
            f"on_empty is one of {', '.join(OnEmpty)}, not {value!r}"
        ) from error


def end_empty(on_empty: OnEmpty, queue_name: str, vacancy: Vacancy | None) -> None:
    """End the task that found nothing as it was asked to, and say why there was nothing.

    :param on_empty: how.
    :param queue_name: where nothing was found.
    :param vacancy: the pause or the limits that kept messages from being claimed; None: it is
        empty.
    """
    reason = f"there is nothing to claim in queue {queue_name!r}"
    end_with(on_empty, reason if vacancy is None else f"{reason} now: {vacancy}")


def end_with(on_empty: OnEmpty, reason: str) -> None:
    """End a task that has nothing to do as it was asked to.

    :param on_empty: how.
    :param reason: why there is nothing to do.
    """
    match on_empty:
        case OnEmpty.SKIP:
            raise AirflowSkipException(reason)
        case OnEmpty.FAIL:
            raise AirflowException(reason)
        case OnEmpty.SUCCEED:
            return


class _XclaimOperator(LinkedToMessages, BaseOperator):
    """What the operators share: the connection, and the link to the messages.

    :param xclaim_conn_id: a connection of type xclaim, postgres or sqlite. (templated)
    """

    template_fields: Sequence[str] = ("xclaim_conn_id",)
    ui_color = "#e8f3ee"

    def __init__(
        self, *, xclaim_conn_id: str = XclaimHook.default_conn_name, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.xclaim_conn_id = xclaim_conn_id

    @cached_property
    def hook(self) -> XclaimHook:
        """Return the hook on the operator's connection."""
        return XclaimHook(self.xclaim_conn_id)


class PushOperator(_XclaimOperator):
    """Push payloads; a retry pushes nothing twice. Returns the ids of the messages.

    Where the payloads of the queue are encrypted, Airflow shows neither them, once rendered, nor
    unique keys and headers. What stands in the DAG file it keeps with the file.

    :param queue_name: the queue's name. (templated)
    :param payloads: a list of anything JSON can hold, for example the output of a task. (templated)
    :param unique_keys: one for each payload; by default made from the task instance. (templated)
    :param on_rerun: what the task does after it was cleared: ``skip``, ``replace_unconsumed`` or
        ``new``.
    :param priority: higher is claimed first. (templated)
    :param delay: how long until they can be claimed.
    :param max_attempts: after how many claims one becomes a dead letter, None for never.
    :param headers: added to the producer's lineage. (templated)
    :param ordering_keys: one, or None, for each payload: of the messages with the same one, one at
        a time is claimed, in the order of their pushes. (templated)
    :param on_dead: what a dead letter does with its line: ``skip`` lets the next one pass, ``hold``
        waits until it is redriven, acked or withdrawn.
    :param max_backlog: how many messages may wait, by default as set for the queue.
    :param on_full: what the task does when so many wait: ``raise``, and fail; ``wait`` for room,
        with its slot; ``skip``, and be skipped. By default as set for the queue.
    :param room_wait: for how long to wait for room, by default a minute.
    :param xclaim_conn_id: a connection of type xclaim, postgres or sqlite. (templated)
    """

    template_fields: Sequence[str] = (
        "queue_name",
        "payloads",
        "unique_keys",
        "ordering_keys",
        "priority",
        "headers",
        "xclaim_conn_id",
    )
    template_fields_renderers = {"payloads": "json", "headers": "json"}  # noqa: RUF012

    def __init__(
        self,
        *,
        queue_name: str,
        payloads: Iterable[Any] | XComArg,
        unique_keys: Iterable[str | None] | None = None,
        on_rerun: str = OnRerun.SKIP,
        priority: int = 0,
        delay: timedelta | None = None,
        max_attempts: int | None = MAX_ATTEMPTS,
        headers: Mapping[str, Any] | None = None,
        ordering_keys: Iterable[str | None] | None = None,
        on_dead: WhenDead = "skip",
        max_backlog: int | None = None,
        on_full: OnFull | None = None,
        room_wait: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        optional_seconds("room_wait", room_wait)
        self.max_backlog = optional_max_backlog(max_backlog)
        self.on_full = optional_on_full(on_full)
        self.room_wait = room_wait
        self.ordering_keys = ordering_keys
        self.on_dead = on_dead
        self.queue_name = queue_name
        self.payloads: Any = payloads  # rendered by the time it is pushed
        self.unique_keys = unique_keys
        self.on_rerun = on_rerun
        self.priority = priority
        optional_seconds("delay", delay)
        self.delay = delay
        self.max_attempts = max_attempts
        self.headers = headers
        self._pushed: int | None = None  # so many messages, for lineage

    def execute(self, context: Context) -> list[int]:
        """Push the payloads and return the ids of their messages, in the same order."""
        unique_keys = revealed(self.unique_keys)
        messages = self.hook.queue(self.queue_name).push_many(
            revealed(self.payloads),
            unique_keys=AUTOMATIC if unique_keys is None else unique_keys,
            on_rerun=self.on_rerun,
            priority=int(self.priority),
            delay=self.delay,
            max_attempts=self.max_attempts,
            headers=revealed(self.headers),
            ordering_keys=revealed(self.ordering_keys),
            on_dead=self.on_dead,
            max_backlog=self.max_backlog,
            on_full=self.on_full,
            wait=self.room_wait,
        )
        pushed = [message.id for message in messages if message is not None]
        # Of a task that ran before some may be there; and each part of a split queue has its room.
        if len(pushed) < len(messages):
            there = f"{len(pushed)} of {len(messages)} messages are in it, the others were not"
            said = f"{there} pushed" if pushed else "nothing was pushed"
            raise AirflowSkipException(f"queue {self.queue_name!r} is full: {said}")
        self._pushed = len(pushed)
        self.log.info("pushed %d messages to %s", len(pushed), self.queue_name)
        return pushed

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the queue as what the task has written, and how many messages."""
        uri = self.hook.asset_uri(self.queue_name)
        return operator_lineage(outputs=[uri], pushed=self._pushed)

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> None:
        # The one way on which Airflow renders a task, mapped or not; then it keeps what it finds.
        super()._do_render_template_fields(parent, template_fields, *args, **kwargs)
        if parent is self and self.hook.is_encrypted(self.queue_name):
            for name in _CONFIDENTIAL:
                if getattr(self, name) is not None:
                    setattr(self, name, Hidden(getattr(self, name)))


class ClaimOperator(_XclaimOperator):
    """Claim for a task downstream, and return the ticket by which it resumes the claim.

    The ticket is a plain dict; of one message it holds the payload, for templates.

    :param queue_name: the queue's name. (templated)
    :param size: how many messages the ticket is for, at most.
    :param lease: how long the ticket may wait to be resumed; then the messages go back.
    :param on_empty: how the task ends when there is nothing: ``skip``, ``succeed`` (and return
        None) or ``fail``.
    :param retry: how long messages rest whose leases ran out, which a claim gives back.
    :param xclaim_conn_id: a connection of type xclaim, postgres or sqlite. (templated)
    """

    template_fields: Sequence[str] = ("queue_name", "xclaim_conn_id")

    def __init__(
        self,
        *,
        queue_name: str,
        size: int = 1,
        lease: timedelta = TICKET_LEASE,
        on_empty: str = OnEmpty.SKIP,
        retry: Retry = RETRY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.retry = checked_retry(retry)
        self.queue_name = queue_name
        self.size = whole_number("size", size, 1, MAX_LIMIT)
        seconds("lease", lease)
        self.lease = lease
        self.on_empty = checked_on_empty(on_empty)

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Claim, and return the ticket."""
        ticket = self.hook.claim_ticket(
            self.queue_name, self.size, lease=self.lease, retry=self.retry
        )
        if ticket is None:
            vacancy = vacancy_of(self.hook.queue(self.queue_name))
            end_empty(self.on_empty, self.queue_name, vacancy)
        return ticket

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the queue as what the task has read."""
        return operator_lineage(inputs=[self.hook.asset_uri(self.queue_name)])


class _TicketOperator(_XclaimOperator):
    """What settles a ticket, in the database that the DAG names: whoever wrote the XCom does not.

    :param ticket: the output of a claiming task. (templated)
    :param queue_name: refuse a ticket of another queue. (templated)
    :param xclaim_conn_id: the connection the claim was made with. (templated)
    """

    template_fields: Sequence[str] = ("ticket", "queue_name", "xclaim_conn_id")
    template_fields_renderers = {"ticket": "json"}  # noqa: RUF012

    def __init__(
        self,
        *,
        ticket: Mapping[str, Any] | XComArg,
        queue_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ticket: Any = ticket  # rendered by the time it is resumed
        self.queue_name = queue_name

    def resume(self) -> list[Claim]:
        """Resume the ticket."""
        return self.hook.resume(self.ticket, queue_name=self.queue_name)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the ticket's queue as what the task has read."""
        if self.ticket is None:
            return operator_lineage()
        return operator_lineage(inputs=[self.hook.asset_uri(self.ticket["queue"])])


class AckOperator(_TicketOperator):
    """Mark the messages of a ticket consumed; for when the work is done by other operators.

    Fails with TicketLostError, for good, if they are no longer held: the work is then somebody
    else's, too.

    :param ticket: the output of a claiming task. (templated)
    :param queue_name: refuse a ticket of another queue. (templated)
    :param xclaim_conn_id: the connection the claim was made with. (templated)
    """

    def execute(self, context: Context) -> int:
        """Resume the ticket, ack, and return how many messages that were."""
        claims = self.resume()
        self.hook.queue(self.ticket["queue"]).ack_many(claims)
        return len(claims)


class ReleaseOperator(_TicketOperator):
    """Give the messages of a ticket back, for example in a branch that runs when the work failed.

    :param ticket: the output of a claiming task. (templated)
    :param error: kept as ``last_error``. (templated)
    :param delay: how long until they can be claimed again; with an error by default as ``retry``
        says.
    :param count: False hands them back without counting the attempt.
    :param retry: how long a message rests after a failed attempt, and how many it has.
    :param on_dead: whether the task is to ``fail`` if a message has become a dead letter, or to
        ``ignore`` it.
    :param queue_name: refuse a ticket of another queue. (templated)
    :param xclaim_conn_id: the connection the claim was made with. (templated)
    """

    template_fields: Sequence[str] = ("ticket", "error", "queue_name", "xclaim_conn_id")

    def __init__(
        self,
        *,
        error: str | None = None,
        delay: timedelta | None = None,
        count: bool = True,
        retry: Retry = RETRY,
        on_dead: str = OnDead.FAIL,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.error = error
        optional_seconds("delay", delay)
        self.delay = delay
        self.count = count
        self.retry = checked_retry(retry)
        self.on_dead = checked_on_dead(on_dead)

    def execute(self, context: Context) -> int:
        """Resume the ticket, release, and return how many messages that were.

        Without a ticket nothing was claimed: the claiming task may itself be what failed. A retry
        that finds nothing held is done: an earlier try, killed right after that, has released them.
        """
        if self.ticket is None:
            self.log.info("nothing was claimed: there is nothing to release")
            return 0
        try:
            claims = self.resume()
        except TicketLostError:
            task = current_task()
            if task is None or not task.is_retry:
                raise
            self.log.info("nothing is held for the ticket any more: there is nothing to release")
            return 0
        queue = self.hook.queue(self.ticket["queue"], retry=self.retry, on_dead=self.on_dead)
        for claim in claims:
            queue.release(claim, error=self.error, delay=self.delay, count=self.count)
        queue.keeper.fail_if_dead()
        return len(claims)


class MaintenanceOperator(_XclaimOperator):
    """Keep queues tidy: give back what lapsed, move dead letters back, delete what is long done.

    Returns what it did, for each queue: ``{"expired": 0, "redriven": 0, "pruned": 12, "available":
    3, "delayed": 0, "claimed": 1, "consumed": 40, "dead_letters": 2}``.

    :param queue_names: the queues. (templated)
    :param expire: whether to give back messages whose lease ran out. Claims do that on the way; it
        matters for queues that nobody claims from.
    :param redrive: whether to move dead letters back, at most ``limit``.
    :param prune_older_than: delete what was consumed longer ago; None deletes nothing.
    :param limit: how many messages each step handles in each queue, at most.
    :param retry: how long a message rests whose lease ran out, and how many attempts it has.
    :param xclaim_conn_id: a connection of type xclaim, postgres or sqlite. (templated)
    """

    template_fields: Sequence[str] = ("queue_names", "xclaim_conn_id")

    def __init__(
        self,
        *,
        queue_names: Iterable[str],
        expire: bool = True,
        redrive: bool = False,
        prune_older_than: timedelta | None = None,
        limit: int | None = None,
        retry: Retry = RETRY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.queue_names = _not_one(queue_names)
        self.expire = expire
        self.redrive = redrive
        optional_seconds("prune_older_than", prune_older_than)
        self.prune_older_than = prune_older_than
        self.limit = limit
        self.retry = checked_retry(retry)

    def execute(self, context: Context) -> dict[str, dict[str, int]]:
        """Do the steps for each queue, and return what was done and what is there."""
        names = _not_one(self.queue_names)  # again: a template or another task may give one name
        report = {name: self._tidy(name) for name in names}
        for name, numbers in report.items():
            self.log.info("%s: %s", name, numbers)
        return report

    def _tidy(self, name: str) -> dict[str, int]:
        queue = self.hook.queue(name, retry=self.retry)
        age = self.prune_older_than
        done = {
            "expired": queue.expire(limit=self.limit) if self.expire else 0,
            "redriven": queue.redrive(limit=self.limit) if self.redrive else 0,
            "pruned": 0 if age is None else queue.prune(older_than=age, limit=self.limit),
        }
        counts = asdict(queue.counts())
        self.hook.measure(name, counts)
        return {**done, **counts}


def _not_one(queue_names: Iterable[str]) -> Iterable[str]:
    """Return the names. Raise InvalidArgumentError for one: its letters would be names, too."""
    if isinstance(queue_names, str):
        raise InvalidArgumentError(f"queue_names is a list: pass [{queue_names!r}]")
    return queue_names
