"""What a task does with a message whose work failed: it keeps it for its own retry, or not.

A claim that is kept waits for the next try of its task instance, which takes it back before
anything else. Its lease covers the time until then; if no try comes, it is given back like any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from xclaim.airflow.tasks import open_claims
from xclaim.airflow.tasks.identity import identity_of, is_of_former_run, running_instance
from xclaim.arguments import (
    LEASE,
    LEASE_LIMIT,
    MAX_DURATION,
    dead_letter_queue,
    error_text,
    visible,
)
from xclaim.errors import (
    ClaimLostError,
    InvalidArgumentError,
    MessagesFailedError,
    UnfinishedError,
    suggested,
)

if TYPE_CHECKING:
    from xclaim import Claim, Message, Queue, Retry
    from xclaim.airflow.tasks.identity import TaskIdentity
    from xclaim.consuming.keep_alive import KeepAlive
    from xclaim.errors import PayloadReadError
    from xclaim.queues.bound_queue import BoundQueue

_MOST_SHOWN = 10
_MOST_CHARACTERS = 200
_MOST = timedelta(days=1)  # Airflow waits no longer for a retry, whatever its backoff says


class OnError(StrEnum):
    """What becomes of a message whose work raised.

    ``RETRY``: the task keeps it for its own retry; after the last one it is released. ``RELEASE``:
    it is released at once. Released messages rest, as ``Retry`` says, and are for anybody.
    ``CONTINUE``: as ``RETRY``, but the task goes on with other messages and fails at its end.
    """

    RETRY = "retry"
    RELEASE = "release"
    CONTINUE = "continue"


class OnDead(StrEnum):
    """What a task does whose message has become a dead letter."""

    FAIL = "fail"
    IGNORE = "ignore"


def checked_on_error(value: str, *, has_others: bool = True) -> OnError:
    """Return the choice. Raise InvalidArgumentError if there is none of that name.

    :param value: its name.
    :param has_others: whether there are others to continue with.
    """
    try:
        policy = OnError(value)
    except ValueError as error:
        raise InvalidArgumentError(
            f"on_error is one of {', '.join(OnError)}, not {value!r}"
        ) from error
    if policy is OnError.CONTINUE and not has_others:
        raise InvalidArgumentError(
            "on_error='continue' goes on with other messages: that needs drain=True or a batch "
            "of more than 1; in a block of the hook release the message with its error instead"
        )
    return policy


def checked_on_dead(value: str) -> OnDead:
    """Return the choice. Raise InvalidArgumentError if there is none of that name.

    :param value: its name.
    """
    try:
        return OnDead(value)
    except ValueError as error:
        raise InvalidArgumentError(
            f"on_dead is one of {', '.join(OnDead)}, not {value!r}"
        ) from error


class TaskKeeper:
    """Keeps claims for the retry of the running task, if there is to be one.

    :param queue: whose claims these are.
    :param bound: the same, as blocks settle them.
    :param on_error: what becomes of a message whose work raised.
    :param on_dead: whether a dead letter fails the task.
    """

    def __init__(
        self, queue: Queue[Any], bound: BoundQueue, on_error: OnError, on_dead: OnDead
    ) -> None:
        self._queue = queue
        self._bound = bound
        self._on_error = on_error
        self._on_dead = on_dead
        self.collects = False  # what failed, until the task ends, also in its last try
        self._instance: Any = None
        self._keep_alive: KeepAlive | None = None
        self._dead: list[Message] = []
        self._unreadable: dict[int, str] = {}
        self._looked_up: set[tuple[str, str]] = set()

    def note_claimant(self, instance: Any) -> None:
        """Remember who claims: a stream may be closed when Airflow has left the task already.

        What the task keeps while it goes on is kept alive from now on.

        :param instance: the running task instance.
        """
        self._instance = instance
        if self._keep_alive is None and open_claims.kept_by(self):
            self._keep_alive = keep_alive(self._extend_kept, until_retry(instance))

    def is_no_failure(self, error: BaseException | str) -> bool:
        """Return whether Airflow only puts the task off, and goes on with it later.

        :param error: which is no error then.
        """
        return isinstance(error, _put_off())

    def keeps(
        self,
        claim: Claim,
        error: BaseException | str,
        retry: Retry,
        note: Callable[..., Message],
    ) -> bool:
        """Return whether the claim stays with the task."""
        instance = running_instance() or self._instance
        if instance is None or self._on_error is OnError.RELEASE:
            return False
        if not self.collects and not is_retried(instance, error):
            return False
        if not _can_be_resumed(claim, instance):
            return False
        if isinstance(error, UnfinishedError):
            open_claims.note_left(str(instance.id), claim, self)
        else:
            note(error=error, lease=until_retry(instance, error))
            pause = retry.drawn(claim.message.attempts)
            open_claims.note_kept(str(instance.id), claim, self, pause)
        return True

    def released(self, message: Message) -> None:
        """Note a dead letter, which fails a task."""
        name = self._queue.name
        if message.queue != name and message.queue == dead_letter_queue(name):
            self._dead.append(message)

    def unreadable(self, message: Message, error: PayloadReadError) -> None:
        """Note a message that no function was called with: it fails a task.

        :param message: as it was released.
        :param error: why it cannot be read.
        """
        if message.queue == self._queue.name:  # else it is dead, and noted as that
            self._unreadable[message.id] = str(error_text(error))

    def take_unreadable(self) -> dict[int, str]:
        """Return what could not be read, will be tried again, and has failed no task yet."""
        unreadable, self._unreadable = self._unreadable, {}
        return unreadable

    def take_dead(self) -> list[Message]:
        """Return what has become a dead letter and has failed no task yet."""
        dead, self._dead = self._dead, []
        return dead

    def fail_if_dead(self) -> None:
        """End the task as failed if one of its messages has become a dead letter.

        Or if one could not be read, and was released without any work on it.

        :raises AirflowFailException: there is a dead letter, and it is not to be ignored.
        :raises MessagesFailedError: there is one that could not be read and is tried again.
        """
        dead, unreadable = self.take_dead(), self.take_unreadable()
        if dead and self._on_dead is OnDead.FAIL:
            raise dead_letters_error(self._queue.name, dead)
        if unreadable:
            raise MessagesFailedError(unreadable)

    def fail_if_spent(self, task: TaskIdentity, claimed_by: str, claim_key: str) -> None:
        """Fail a retry whose message is dead: it would find nothing, or another one.

        :param task: the running one.
        :param claimed_by: who claims now.
        :param claim_key: as earlier tries did.
        :raises AirflowFailException: there is one, and it is not to be ignored.
        """
        if self._queue.name == dead_letter_queue(self._queue.name):
            return  # there all are dead, and are tried again
        if self._on_dead is OnDead.IGNORE or (claimed_by, claim_key) in self._looked_up:
            return
        from xclaim import verbs

        spent = self._bound.run(verbs.SPENT, claim_key=claim_key, claimed_by=claimed_by)
        self._looked_up.add((claimed_by, claim_key))
        own = [message for message in spent if self._is_of_this_run(task, message)]
        if own:
            raise dead_letters_error(self._queue.name, own)

    def _is_of_this_run(self, task: TaskIdentity, message: Message) -> bool:
        """Return whether it died in a try since the task was cleared, as far as its row tells.

        Of a run that was deleted and made anew the tries are numbered as before.
        """
        claimant, at = message.claimed_by, message.claimed_at
        if claimant is None:
            failures = self._queue.failures(message.id)
            claimant, at = (failures[-1].claimed_by, failures[-1].at) if failures else (None, None)
        return task.has_tried_as(claimant) and not is_of_former_run(at)

    def release(
        self, claim: Claim, *, delay: timedelta | None = None, error: object = None
    ) -> None:
        """Give a claim back at the end of the task.

        :param claim: which the task holds.
        :param delay: how long it rests.
        :param error: with which the task has ended.
        """
        self.end()
        self._queue.release(claim, delay=delay, error=error)

    def extend(self, claim: Claim, *, lease: timedelta) -> None:
        """Let a kept claim wait for the retry.

        :param claim: which the task holds.
        :param lease: how long, from now.
        """
        self.end()
        self._queue.extend(claim, lease=lease)

    def keep(self, claim: Claim, *, error: object, lease: timedelta) -> None:
        """Let a claim wait for the retry that was in work when the task failed.

        :param claim: which the task holds.
        :param error: with which the task has ended.
        :param lease: how long, from now.
        """
        from xclaim import verbs

        is_over = self._on_error is OnError.RELEASE or self._bound.retry.is_used_up(claim.message)
        if is_over or not _can_be_resumed(claim, self._instance):
            self._queue.release(claim, error=error)
        else:
            self._bound.settle(verbs.NOTE_FAILURE, claim, error=error, lease=lease)

    def end(self) -> None:
        """Keep nothing alive any more."""
        if self._keep_alive is not None:
            self._keep_alive.end()
            self._keep_alive = None

    def _extend_kept(self) -> None:
        from xclaim import verbs

        lease = until_retry(self._instance)
        for claim in open_claims.kept_by(self):
            with suppress(ClaimLostError):  # of this one only
                self._bound.settle(verbs.EXTEND, claim, lease=lease)


def _can_be_resumed(claim: Claim, instance: Any) -> bool:
    """Return whether a retry takes it back: it has the key, and is another claimant."""
    own = identity_of(instance).claimed_by
    return claim.message.claim_key is not None and claim.claimed_by == own


def dead_letters_error(queue: str, dead: Sequence[Message]) -> Exception:
    """Return what fails a task for good, because a retry could do nothing about it.

    :param queue: of which they were.
    :param dead: the messages.
    """
    from xclaim.airflow.versions import AirflowFailException

    shown = ", ".join(
        f"{message.id} after {message.attempts} attempts ({_said(message.last_error)})"
        for message in dead[:_MOST_SHOWN]
    )
    more = len(dead) - _MOST_SHOWN
    others = f" and {more} more" if more > 0 else ""
    return AirflowFailException(
        f"dead letter of queue {queue!r}: message {shown}{others}; "
        f"when the cause is mended, {suggested('redrive', queue)} brings them back"
    )


def _said(error: str | None) -> str:
    return visible(error[:_MOST_CHARACTERS]) if error else "killed"  # it may quote a payload


def is_retried(instance: Any, error: BaseException | str) -> bool:
    """Return whether Airflow tries again after the error.

    :param instance: the running task instance.
    :param error: with which it may end.
    """
    return bool(instance.try_number <= instance.max_tries) and not is_final(error)


def is_final(error: BaseException | str) -> bool:
    """Return whether there is no retry after the error, whatever the task's retries.

    :param error: with which a task may end.
    """
    return isinstance(error, _final())


@cache
def _final() -> tuple[type[BaseException], ...]:
    from xclaim.airflow import versions

    # Of these Airflow makes a failure without a retry, or none at all.
    return (
        versions.AirflowFailException,
        versions.AirflowSensorTimeout,
        versions.AirflowSkipException,
        versions.AirflowTaskTerminated,
    )


@cache
def _put_off() -> tuple[type[BaseException], ...]:
    from xclaim.airflow import versions

    # As far as this Airflow has them.
    names = ("TaskDeferred", "AirflowRescheduleException", "TaskAwaitingInput")
    return tuple(getattr(versions, name) for name in names if hasattr(versions, name))


def keep_alive(extend: Callable[[], object], lease: timedelta) -> KeepAlive:
    """Return what extends leases from a thread, beside a task that goes on.

    :param extend: the leases.
    :param lease: how long they are.
    """
    from xclaim.connections.concurrency import Threads
    from xclaim.consuming.keep_alive import KeepAlive

    limit = max(lease, LEASE_LIMIT)
    kept = KeepAlive(Threads(), extend, lease=lease, lease_limit=limit)
    kept.start()
    return kept


def until_retry(instance: Any, error: object = None) -> timedelta:
    """Return how long a claim is kept: until the retry at the latest, and for its start.

    As Airflow reckons it, which adds a random part to a delay that grows
    (``TaskInstance.next_retry_datetime``), and lets the delay of a ``retry_policy`` take its place.

    :param instance: the task instance that failed.
    :param error: with which it did, as far as that is known.
    """
    delay = _delay_by_policy(instance, error)
    return min((_usual_delay(instance) if delay is None else delay) + LEASE, MAX_DURATION)


def _delay_by_policy(instance: Any, error: object) -> timedelta | None:
    """Return what a declared ``retry_policy`` says of the error, None for the usual delay.

    Whatever else decides may ask somebody, and answer otherwise each time: Airflow alone asks that.
    """
    from xclaim.airflow import versions

    policy = getattr(instance.task, "retry_policy", None)
    declared: Any = getattr(versions, "ExceptionRetryPolicy", None)  # since 3.3
    if policy is None or declared is None or not isinstance(error, BaseException):
        return None
    if getattr(type(policy), "evaluate", None) is not declared.evaluate:
        return None
    try:
        decision = policy.evaluate(error, instance.try_number, instance.max_tries)
    except Exception:  # noqa: BLE001  (then Airflow goes by the usual delay, too)
        return None
    delay: timedelta | None = decision.retry_delay if decision.action.value == "retry" else None
    return delay


def _usual_delay(instance: Any) -> timedelta:
    task = instance.task
    delay: timedelta = getattr(task, "retry_delay", timedelta(0))
    growth = getattr(task, "retry_exponential_backoff", 0)
    growth = 2.0 if growth is True else float(growth or 1)  # a flag, in older ones
    if growth != 1:
        delay = min(_grown(delay, growth, instance.try_number), _MOST)
        longest = getattr(task, "max_retry_delay", None)
        if longest is not None:
            delay = min(delay, longest)
    return delay


def _grown(delay: timedelta, growth: float, try_number: int) -> timedelta:
    try:
        least = math.ceil(delay.total_seconds() * growth ** (try_number - 1))
        return timedelta(seconds=2 * max(least, 1))
    except OverflowError:
        return _MOST
