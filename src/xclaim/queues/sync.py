"""Queue: the verbs of one named queue, bound to an engine or to your connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack, overload

from sqlalchemy import URL, Connection, Engine

from xclaim import verbs
from xclaim.arguments import LEASE, LEASE_LIMIT, Loud, OnFull, PushOptions, WhenDead
from xclaim.claims import Claim, Ticket
from xclaim.connections.concurrency import THREADS
from xclaim.connections.engine import create_verb_engine
from xclaim.connections.sessions import session_in
from xclaim.consuming.reconnecting import RECONNECT
from xclaim.consuming.streaming import each
from xclaim.limits import Backlog, Limits, Pause
from xclaim.message import Counts, Failure, Message, T_co
from xclaim.payloads.payloads import Payloads
from xclaim.places import Places
from xclaim.queues.bound_queue import Bind, unusable_bind
from xclaim.queues.placing import Placed, bind_queue
from xclaim.retry import MAX_ATTEMPTS, RETRY, Retry

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, scoped_session


class Queue(Generic[T_co]):
    """One named queue.

    ``bind`` is a URL (the queue then owns an engine: use it in a ``with`` block, or ``close()``),
    Places (which say the URL and the schema by the queue's name), an Engine (each verb is a
    transaction of its own, in autocommit), or a Connection or an ORM Session: then the verbs join
    its transaction and nothing is committed for you. A session is flushed before a verb as before a
    query.

    ``schema`` is a PostgreSQL schema, by default the one in ``XCLAIM_SCHEMA``. With ``notify`` its
    pushes wake those who wait in ``claim(wait=...)``, by PostgreSQL's NOTIFY, once in 20 ms at
    most. What loops or waits (``stream``, ``consume``, ``transact``, ``claim(wait=...)``) goes on
    when the database comes back within ``reconnect``; a single verb raises. Raise
    InvalidArgumentError or DatabaseUrlError for a name or URL that cannot be used; nothing is
    connected yet. ``type`` is what the payloads are: a dataclass, a TypedDict or a pydantic model,
    checked at push and made again at claim. ``payloads`` says how they are stored, by default as
    the environment says, or in the row.

    A queue made from a URL keeps a connection for each worker at a time, up to 96. A verb that is
    interrupted (Ctrl-C) is finished first, within 10 s, and what it claimed is handed back.
    """

    def __init__(
        self,
        name: str,
        bind: Engine | Connection | Session | scoped_session[Any] | URL | str | Places,
        *,
        schema: str | None = None,
        notify: bool = False,
        reconnect: timedelta = RECONNECT,
        retry: Retry = RETRY,
        type: type[T_co] | None = None,
        payloads: Payloads | None = None,
    ) -> None:
        self._queue = bind_queue(
            name,
            bind,
            schema,
            _opened,
            THREADS,
            holds_connections=True,
            notify=notify,
            reconnect=reconnect,
            retry=retry,
            type_=type,
            payloads=payloads,
        )
        self.name = self._queue.name

    @overload
    def push(
        self,
        payload: Any,
        *,
        on_full: Loud | None = None,
        unique_key: str | None = ...,
        ordering_key: str | None = ...,
        **options: Unpack[PushOptions],
    ) -> Message[T_co]: ...

    @overload
    def push(
        self,
        payload: Any,
        *,
        on_full: OnFull | None,
        unique_key: str | None = ...,
        ordering_key: str | None = ...,
        **options: Unpack[PushOptions],
    ) -> Message[T_co] | None: ...

    def push(
        self,
        payload: Any,
        *,
        unique_key: str | None = None,
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

        With a ``unique_key`` that the queue has already, the existing message is returned, whatever
        its status, and nothing is pushed. Higher ``priority`` is claimed first, after the ``delay``
        if any; after ``max_attempts`` claims it is a dead letter. Of the messages with the same
        ``ordering_key`` one at a time can be claimed or is, in the order of their pushes: the
        others stand in line, and their ``available_at`` is None. A dead letter lets the next one
        pass, or with ``on_dead="hold"`` holds the line until it is redriven, acked or withdrawn.

        Where ``max_backlog`` messages wait already, by default as many as ``limit_backlog`` has
        set, this raises QueueFullError, ``wait``s for room (a minute at most, unless you say), or
        skips the payload and returns None: as ``on_full`` says, else the setting. In a transaction
        of yours a setting only makes it raise, and ``on_full="wait"`` is refused.

        Raise DuplicateMessageError if the key has another payload, PayloadError if the payload
        cannot be encoded, StorageError if it is large and its storage cannot be written,
        OrderingNotEnabledError until ``xclaim ordering enable`` was run, InvalidArgumentError for a
        wrong option.
        """
        return self._queue.push(
            payload,
            unique_key,
            ordering_key=ordering_key,
            priority=priority,
            delay=delay,
            max_attempts=max_attempts,
            headers=headers,
            on_dead=on_dead,
            max_backlog=max_backlog,
            on_full=on_full,
            wait=wait,
        )

    @overload
    def push_many(
        self,
        payloads: Iterable[Any],
        *,
        on_full: Loud | None = None,
        unique_keys: Iterable[str | None] | None = ...,
        ordering_keys: Iterable[str | None] | None = ...,
        **options: Unpack[PushOptions],
    ) -> list[Message[T_co]]: ...

    @overload
    def push_many(
        self,
        payloads: Iterable[Any],
        *,
        on_full: OnFull | None,
        unique_keys: Iterable[str | None] | None = ...,
        ordering_keys: Iterable[str | None] | None = ...,
        **options: Unpack[PushOptions],
    ) -> list[Message[T_co] | None]: ...

    def push_many(
        self,
        payloads: Iterable[Any],
        *,
        unique_keys: Iterable[str | None] | None = None,
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
        """Push the payloads and return their messages in the same order; on an error none is.

        In one statement, beyond 64 MB of JSON in several of one transaction. ``unique_keys`` and
        ``ordering_keys`` have one key, or None, for each payload; the other options hold for all,
        as for ``push``. Without room for all that is new nothing is pushed: with ``on_full="skip"``
        None stands for what is not there under its key. More than ``max_backlog`` never wait.
        """
        return self._queue.push_many(
            payloads,
            unique_keys,
            ordering_keys=ordering_keys,
            priority=priority,
            delay=delay,
            max_attempts=max_attempts,
            headers=headers,
            on_dead=on_dead,
            max_backlog=max_backlog,
            on_full=on_full,
            wait=wait,
        )

    def claim(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        wait: timedelta | None = None,
    ) -> Claim[T_co] | None:
        """Claim the next message, or return None if there is none that can be claimed now.

        Next is the highest priority, then the longest available. ``claimed_by`` says who, by
        default ``host:pid``. With a ``claim_key`` what an earlier attempt (same key, another
        ``claimed_by``) still holds is taken back first. When the ``lease`` runs out before ack,
        release or extend, others may claim it. ``wait``: how long to wait for a message, at most.
        """
        claims = self.claim_many(
            1, claimed_by=claimed_by, claim_key=claim_key, lease=lease, wait=wait
        )
        return claims[0] if claims else None

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
        """Claim up to ``limit`` messages, the next one first; ``[]`` if there is none.

        What is taken back by ``claim_key`` is returned alone. ``wait``: how long to wait for the
        first message, at most; it looks every 2.5 s at least, and at once when a queue with
        ``notify`` pushes. Not on a queue bound to a connection. ``whole_lines``: behind each
        message with an ordering key come those that stand in line behind it, in their order; nobody
        else claims one with that key before all of them have ended. What you release of them is the
        next one that is claimed with that key, whatever you have done of those behind it.
        """
        claimant = {
            "claimed_by": claimed_by,
            "claim_key": claim_key,
            "lease": lease,
            "whole_lines": whole_lines,
        }
        return self._queue.claim_many(limit, claimant, wait)

    def claim_message(
        self,
        message_id: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
    ) -> Claim[T_co] | None:
        """Claim this very message, or return None if it cannot be claimed now.

        For who was told of it. With a ``claim_key`` it is taken back when an earlier attempt (same
        key, another ``claimed_by``) holds it. None: another has it, it was consumed, is delayed, or
        is not in the queue, as ``get`` tells; or the queue is paused, or its limits are reached.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        return self._queue.run(verbs.CLAIM_MESSAGE, message_id, **claimant)

    def resume(
        self,
        ticket: Ticket,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
    ) -> list[Claim[T_co]]:
        """Take over the claims that a ticket hands on, with new tokens; ``[]`` if none is held.

        The first to resume a ticket has them, and whoever held them before is fenced off. With a
        ``claim_key`` a later attempt (same key, another ``claimed_by``) can resume the ticket
        again, and gets what the earlier attempt still holds. The lease is counted from now.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        return self._queue.run(verbs.RESUME, ticket, **claimant)

    def ack(self, claim: Claim) -> None:
        """Mark the message consumed. Raise ClaimLostError if the claim is no longer held.

        A claim past its lease that nobody has taken meanwhile still acks.
        """
        self._queue.settle(verbs.ACK, claim)

    def ack_many(self, claims: Iterable[Claim]) -> None:
        """Mark the messages consumed, in one statement.

        Raise ClaimLostError naming those that are no longer held, after the others were acked.
        """
        self._queue.settle_many(verbs.ACK_MANY, claims)

    def release(
        self,
        claim: Claim,
        *,
        delay: timedelta | None = None,
        error: object = None,
        count: bool = True,
        retry: Retry | None = None,
    ) -> Message[T_co]:
        """Give the message back and return it as it is now. Raise ClaimLostError if not held.

        With an ``error``, an exception or a text, the attempt has failed: the error is kept, and
        the message comes back after the pause that the queue's ``retry`` says, or after ``delay``.
        Without one it keeps its place in the queue. A message whose attempts are used up becomes a
        dead letter; ``count=False`` hands it back without counting the attempt, which then is no
        failure. ``retry``: by default that of the block that holds it, else the queue's;
        ``Retry(max_attempts=1)`` gives it up at once.
        """
        return self._queue.release(claim, retry, delay=delay, error=error, count=count)

    def extend(self, claim: Claim[T_co], *, lease: timedelta = LEASE) -> Claim[T_co]:
        """Let the lease end ``lease`` from now; return the claim with its new expiry.

        Raise ClaimLostError if the claim is no longer held.
        """
        return self._queue.settle(verbs.EXTEND, claim, lease=lease)

    def extend_many(self, claims: Iterable[Claim], *, lease: timedelta = LEASE) -> None:
        """Let the leases end ``lease`` from now, in one statement.

        Raise ClaimLostError naming those that are no longer held, after the others were extended.
        """
        self._queue.settle_many(verbs.EXTEND_MANY, claims, lease=lease)

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

        Yields None when there is nothing to claim, with ``wait`` only after so long. A message
        whose block raises comes back after the pause that ``retry`` says, by default the queue's.
        You may as well ``ack`` or ``release`` it in the block. Meanwhile a thread extends the
        lease, for ``lease_limit`` in all. Raise ClaimLostError at the end if the claim was lost all
        the same. A queue bound to a connection extends nothing: choose the lease long enough.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        return self._queue.consume(claimant, lease_limit, wait, retry)

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

        As ``consume``; yields ``[]`` when there is nothing to claim. To fail one and go on,
        ``release(claim, error=...)`` it in the block: the others are acked. ``whole_lines``: as
        for ``claim_many``.
        """
        claimant = {
            "claimed_by": claimed_by,
            "claim_key": claim_key,
            "lease": lease,
            "whole_lines": whole_lines,
        }
        return self._queue.consume_many(limit, claimant, lease_limit, wait, retry)

    def working_on(
        self,
        claims: Iterable[Claim[T_co]],
        *,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        retry: Retry | None = None,
    ) -> AbstractContextManager[list[Claim[T_co]]]:
        """Hold claims for a block: ack them at its end, release them if it raises.

        For claims you have already, resumed from a ticket say. Their leases, longer ones too, are
        counted from the begin of the block and extended as ``consume`` does it, and one that fails
        is released in the same way. Raise ClaimLostError naming those that were lost all the same.
        """
        return self._queue.working_on(claims, lease, lease_limit, retry)

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
        """Claim a message, and commit what the block writes together with the ack.

        Yields the claim, or None, and a connection in a transaction. If the block raises, or the
        claim is lost (ClaimLostError), everything is rolled back and the message is released. What
        the queue acks or releases in the block commits with it. On
        SQLite the block holds the one write lock. Not on a queue bound to a connection: there
        ``claim`` and ``ack`` are in your transaction already.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        return self._queue.transact(claimant, lease_limit, wait, retry)

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

        Claims up to ``batch`` ahead and keeps them alive. A message is finished when the next one
        is asked for; acks are sent together, with the next claim and about once a second. When
        the loop ends early, finished messages are acked, the current one is released, and those
        not begun are handed back uncounted. Raise ClaimLostError naming what could not be acked.
        To fail one and go on, ``release(claim, error=...)`` it in the loop. ``wait``: end only when
        there was no message for so long. ``retry``: by default the queue's. ``whole_lines``: as for
        ``claim_many``; one that is released takes those behind it along, which then are handed
        back uncounted and in order.
        """
        claimant = {
            "claimed_by": claimed_by,
            "claim_key": claim_key,
            "lease": lease,
            "whole_lines": whole_lines,
        }
        return each(self._queue.stream(batch, claimant, lease_limit, wait, retry))

    def limit_backlog(
        self, *, max_backlog: int | None, on_full: OnFull = "raise", by: str | None = None
    ) -> None:
        """Let so many messages wait in the queue, and say what a push does then; None: any number.

        Within a second, for all who push to it: ``raise`` QueueFullError, ``wait`` for room, or
        ``skip`` the push, which then returns None also to producers that do not expect it. What
        waits already stays. Waiting is what can be claimed, is delayed, or stands in line; not what
        is claimed, and no dead letter. A release, a lapsed lease or a redrive is never refused.
        ``by``: who is named in the log, by default who runs this process.
        """
        self._queue.run(verbs.LIMIT_BACKLOG, max_backlog=max_backlog, on_full=on_full, by=by)

    def backlog(self) -> Backlog:
        """Return how many messages may wait, and how many do, counted to one more than that.

        Of a queue that is split the sum of its parts, each of which has the limit for itself.
        """
        return self._queue.run(verbs.BACKLOG)

    def pause(self, *, reason: str | None = None, by: str | None = None) -> Pause:
        """Let the queue hand out nothing, and return since when, by whom and why it is so.

        Within a second, for all who claim from it, until ``unpause``: they wait as if it were
        empty. What is held may still be settled, taken back by its claim key and resumed by its
        ticket, and what a stream has claimed ahead is worked on; pushes go on. The dead-letter
        queue is another one. If it is paused already it stays so as it is, but for a new
        ``reason``. ``by``: by default who runs this process, as ``user@host``; that is logged.
        """
        return self._queue.run(verbs.PAUSE, reason=reason, by=by)

    def unpause(self, *, by: str | None = None) -> bool:
        """Let the queue hand out messages again, and return whether it was paused.

        On PostgreSQL that wakes those who wait. ``by``: who is named in the log, by default who
        runs this process.
        """
        return self._queue.run(verbs.UNPAUSE, by=by)

    def paused(self) -> Pause | None:
        """Return since when the queue hands out nothing, by whom and why; None: it is not paused.

        Only for those who want to know: a claim asks by itself.
        """
        return self._queue.run(verbs.PAUSED)

    def limit(
        self,
        *,
        concurrency: int | None = None,
        rate: int | None = None,
        per: timedelta | None = None,
        burst: int | None = None,
        by: str | None = None,
    ) -> Limits:
        """Set the limits of the queue, for all who claim from it; what is not named has none.

        ``concurrency``: at most so many messages are claimed at once. ``rate``: so many claims
        begin ``per`` second, or another time; ``burst``, by default one, may begin together after
        a rest. Without any all limits end. What waits already comes under them, what is claimed
        counts. Who has just claimed may go on without them for part of a second. ``by``: who
        is named in the log, by default who runs this process.
        """
        given = {"concurrency": concurrency, "rate": rate, "per": per, "burst": burst}
        return self._queue.run(verbs.LIMIT, **given, by=by)

    def limits(self) -> Limits | None:
        """Return the limits of the queue, None if it has none.

        Only for those who want to know: a claim asks by itself.
        """
        return self._queue.run(verbs.LIMITS)

    def expire(self, *, limit: int | None = None) -> int:
        """Give back the messages whose lease ran out, and return how many.

        They have failed, and come back after a pause that began with their claim: most can be
        claimed at once. Those whose attempts are used up become dead letters. ``limit`` None: all
        of them, in batches.
        """
        return self._queue.run(verbs.EXPIRE, limit=limit)

    def redrive(
        self,
        *,
        limit: int | None = None,
        to: str | None = None,
        error: str | None = None,
        older_than: timedelta | None = None,
        ids: Iterable[int] | None = None,
        rate: float | None = None,
        dry_run: bool = False,
    ) -> int:
        """Move dead letters of the queue back to it, or ``to`` another; return how many.

        The next one first; they can be claimed at once, with no attempts counted. Their unique keys
        stay reserved in the queue they were pushed to. A dead-letter queue gives its letters back
        to the queue they are of. ``limit`` None: all of them, in batches.

        Only those with an ``error`` (its class, with its module or without, or what its text
        contains), dead for ``older_than``, or with these ``ids``; several of them narrow it
        further. Raise InvalidArgumentError for ids of what is no dead letter here; nothing is moved
        then. ``rate`` is in messages per second, so that consumers are not flooded: it waits in
        between, and does not move again what dies meanwhile. With ``dry_run`` it only counts.
        """
        options = {"to": to, "error": error}
        return self._queue.redrive(limit, ids, older_than, rate, dry_run=dry_run, **options)

    def prune(
        self, *, older_than: timedelta, limit: int | None = None, dry_run: bool = False
    ) -> int:
        """Delete messages that were consumed longer ago than ``older_than``; return how many.

        In batches, each of which commits by itself. Their unique keys can be pushed again. Consumed
        dead letters are pruned too. Objects of payloads are deleted with them; on a connection of
        yours, which may still roll back, they are left for ``prune_orphans``. With ``dry_run`` it
        only counts.
        """
        verb = verbs.COUNT_PRUNABLE if dry_run else verbs.PRUNE
        return self._queue.run(verb, older_than=older_than, limit=limit)

    def withdraw(
        self, unique_keys: Iterable[str] | None = None, *, ids: Iterable[int] | None = None
    ) -> int:
        """Delete the messages under these keys, or with these ids, that nobody has claimed.

        Return how many. For a producer that takes back what it pushed. Dead letters are withdrawn
        too. A withdrawn key can be pushed again. Objects of payloads are deleted as ``prune`` does
        it. Raise InvalidArgumentError for both keys and ids.
        """
        return self._queue.withdraw(unique_keys, ids)

    def peek(self, limit: int = 1) -> list[Message[T_co]]:
        """Return the messages that would be claimed next, without claiming them.

        Of a paused queue those that would be if it were not.
        """
        return self._queue.run(verbs.PEEK, limit)

    def failing(self, limit: int = 1) -> list[Message[T_co]]:
        """Return the messages that failed and are tried again, the next try first.

        ``available_at`` is when, ``attempts`` how often they were tried, ``last_error`` why. They
        failed, their lease ran out, or they were released and the attempt counted.
        """
        return self._queue.run(verbs.FAILING, limit)

    def newest_available_at(self) -> datetime | None:
        """Return when the newest message that can be claimed now became available; None: none can.

        For those who watch a queue: a push, a delay that ended and a delayed release move it on. Of
        a paused queue none can be claimed.
        """
        return self._queue.run(verbs.NEWEST_AVAILABLE_AT)

    def get(self, message_id: int) -> Message[T_co] | None:
        """Return the message if it is in the queue, or was pushed to it; else None."""
        return self._queue.run(verbs.GET, message_id)

    def failures(self, message_id: int) -> list[Failure]:
        """Return the attempts at a message that failed: the last 20 at most, in their order.

        ``[]`` also if there is no such message. ``message.last_error`` has the last one in full.
        """
        return self._queue.run(verbs.FAILURES, message_id)

    def find(self, unique_keys: Iterable[str]) -> list[Message[T_co]]:
        """Return the messages pushed under these keys, whatever their status.

        By id; a key that nothing was pushed under has none.
        """
        return self._queue.run(verbs.FIND, unique_keys)

    def counts(self) -> Counts:
        """Count the queue's messages by state, exactly, and nothing of other queues.

        It reads an index entry for each, and after many changes without a vacuum their rows: not
        for a hot path.
        """
        return self._queue.run(verbs.COUNTS)

    def read(self, message: Message | Claim) -> Any:
        """Return the payload of a message or claim, read as this queue's settings say.

        For those that were made elsewhere: by ``from_dict``, or a queue with other settings.
        """
        return self._queue.read(message)

    def close(self) -> None:
        """Close what the queue opened for a URL, when the verbs of other threads have ended."""
        self._queue.close()

    def __enter__(self) -> Self:
        """Return the queue; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the queue."""
        self.close()

    def __repr__(self) -> str:
        """Return the name and the database, without its password."""
        return f"Queue({self.name!r}, {self._queue.shown_database()!r})"


def _opened(where: Placed) -> Bind:
    bind: object = where.bind
    if isinstance(bind, str | URL):
        return create_verb_engine(bind, commands=where.commands)
    if isinstance(bind, Engine | Connection):
        return bind
    session = session_in(bind)
    if session is None:
        raise unusable_bind(bind, "an Engine, a Connection, a Session", "asyncio use AsyncQueue")
    return session
