"""The runner of verbs: the one place where a verb of a queue is encoded, run and cleaned up after.

``Queue`` and ``AsyncQueue`` differ in their ``Concurrency`` alone; everything here is written once,
as blocking code.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from xclaim.claims import Claim
from xclaim.connections import busy_files, calls, events, forks, log_lines
from xclaim.connections.calls import begin, current_call
from xclaim.connections.companions import PUSHES, Push, accompanied, url_of
from xclaim.connections.payload_work import (
    IN_THE_ROW,
    delete_consumed,
    delete_objects,
    delete_unused,
    read_by,
)
from xclaim.connections.sessions import OrmSession
from xclaim.errors import ClaimLostError, QueueFullError, XclaimError
from xclaim.payloads.options import AfterAck
from xclaim.payloads.payloads import Payloads
from xclaim.payloads.stores.references import OwnObject
from xclaim.retry import RETRY, Retry, checked_retry
from xclaim.sql.schema import translated
from xclaim.verb import Verb, VerbEvent, outcome_of

if TYPE_CHECKING:
    from xclaim.connections.concurrency import Concurrency
    from xclaim.connections.per_thread import PerThread

T = TypeVar("T")
_Way = Callable[[Callable[[Connection], Any]], Any]

_logger = logging.getLogger("xclaim")
_uri_of = attrgetter("uri")


class Wake(NamedTuple):
    """Where pushes wake who waits."""

    engine: Engine
    queue: str
    schema: str | None = None


class Runner:
    """Runs the verbs of one queue, on an engine in autocommit or in a transaction of the caller.

    That is a connection's or a session's: nothing is committed there, and no object of a payload is
    deleted, because the caller may still roll back.
    """

    def __init__(
        self,
        bind: Engine | Connection | OrmSession,
        concurrency: Concurrency,
        *,
        schema: str | None = None,
        notify: bool = False,
        retry: Retry = RETRY,
        payloads: Payloads = IN_THE_ROW,
        per_thread: PerThread | None = None,
        whereabouts: str | None = None,
    ) -> None:
        self.bind = bind
        self.concurrency = concurrency
        self.payloads = payloads
        self._schema = schema
        self._notify = notify
        self.retry = retry
        self.log_level = logging.DEBUG  # lines of a lower level are raised to it
        self._whereabouts = whereabouts  # of its queue, as a note for errors of the database
        self._commits = isinstance(bind, Engine)
        self._on_the_bind = _way_to(bind, per_thread)

    @property
    def engines(self) -> Sequence[Engine]:
        """What it takes connections of; none in a transaction of the caller."""
        return [self.bind] if isinstance(self.bind, Engine) else []

    def bind_of(self, _: Claim) -> Engine | Connection | OrmSession:
        """Return what the claim was made on."""
        return self.bind

    def wakes(self, queue: str) -> Sequence[Wake]:
        """Return where pushes to a queue wake who waits: the engine, and the queue's name there."""
        return [Wake(engine, queue, self._schema) for engine in self.engines]

    def joined(self, connection: Connection) -> Runner:
        """Return a runner that joins the transaction of a connection."""
        joined = Runner(
            connection,
            self.concurrency,
            schema=self._schema,
            notify=self._notify,
            retry=self.retry,
            payloads=self.payloads,
            whereabouts=self._whereabouts,
        )
        joined.log_level = self.log_level
        return joined

    def retrying(self, retry: Retry | None) -> Runner:
        """Return the same runner with another Retry, if one is given."""
        if retry is None or retry is self.retry:
            return self
        other = copy(self)
        other.retry = checked_retry(retry)
        return other

    def run(self, verb: Verb[T], *arguments: Any, **options: Any) -> T:
        """Run a verb to its end, whatever is cancelled or interrupted meanwhile.

        What a cancelled verb has claimed is handed back, uncounted, before the cancellation goes
        on: nobody else could do that.
        """
        call = partial(self.run_once, verb, *arguments, **options)
        if verb.reads:
            return self.concurrency.read(call)
        if verb.undone_by is None:
            return self.concurrency.finish(call)
        result: list[T] = []
        try:
            self.concurrency.finish(partial(self._claim, verb.undone_by, call, result))
            return result[0]
        except BaseException as error:
            self.hand_back(verb.undone_by, _claims_in(result), error)
            raise

    def _claim(self, undo: Verb[Any], call: Callable[[], T], result: list[T]) -> None:
        result.append(call())
        record = current_call()
        if record is not None and record.is_abandoned:  # nobody waits for it any more
            with calls.outside_of_calls():  # whose time is over
                self.run_once(undo, _claims_in(result))

    def run_once(self, verb: Verb[T], *arguments: Any, **options: Any) -> T:
        """Run a verb within a call that somebody else finishes."""
        if not events.VERBS.is_listened_to():
            return self._logged(verb, arguments, options)
        if verb.pushes:
            options["repeated"] = []
        began = time.monotonic()
        claims = verb.claims_in(arguments)
        try:
            result = self._logged(verb, arguments, options)
        except BaseException as error:
            self._emit(verb, arguments, began, **_failure(error, claims))
            raise
        outcome = outcome_of(verb, result, claims)
        self._emit(verb, arguments, began, **outcome, repeated=options.get("repeated", ()))
        return result

    def _emit(
        self, verb: Verb[Any], arguments: tuple[Any, ...], began: float, **outcome: Any
    ) -> None:
        seconds = time.monotonic() - began
        events.VERBS.emit(
            VerbEvent(
                verb=verb.name,
                queue=verb.queue_in(arguments),
                acked=len(outcome.get("settled", ())) if verb.acks else 0,
                seconds=seconds,
                url=url_of(self.bind),
                is_open=not self._commits,
                **outcome,
            )
        )

    def hand_back(self, verb: Verb[Any], claims: list[Claim], error: BaseException) -> None:
        """Give back what was claimed for nobody; what cannot be given back now is noted."""
        if not claims:
            return
        give_back = partial(self.run_once, verb, claims)
        try:
            self.concurrency.finish(give_back, within=calls.BOUND, is_owed=True)
        except (SQLAlchemyError, TimeoutError) as cause:
            note_failed_release(error, claims, cause)

    def _logged(self, verb: Verb[T], arguments: tuple[Any, ...], options: dict[str, Any]) -> T:
        is_wanted = log_lines.is_wanted(verb, self.log_level)
        if is_wanted and verb.pushes:
            options.setdefault("repeated", [])
        try:
            result = self._run(verb, arguments, options)
        except ClaimLostError as error:
            self._log(verb, arguments, options, lost=error)
            raise
        except QueueFullError as error:
            if error.on_full != "raise":  # whoever calls hears it
                line = log_lines.full(error)
                log_lines.write(lambda: [line], least=self.log_level)
            raise
        if is_wanted:
            self._log(verb, arguments, options, result=result)
        return result

    def _log(self, *of: Any, **outcome: Any) -> None:
        verb, arguments, options = of
        said = {"retry": self.retry, "schema": self._schema, **options}
        make = partial(log_lines.lines, verb, arguments, said, **outcome)
        log_lines.write(make, least=self.log_level, is_open=not self._commits)

    def _run(self, verb: Verb[T], arguments: tuple[Any, ...], options: dict[str, Any]) -> T:
        if verb.pushes:
            result: Any = self._accompanied_push(verb, arguments, options)
        elif verb.acks and self.payloads.after_ack is not AfterAck.KEEP:
            result = self._ack(verb, arguments, {**options, "after": self.payloads.after_ack})
        elif verb.deletes and self._commits and self.payloads.storage is not None:
            result = self._delete(verb, arguments, options)
        else:
            result = self._execute(verb, arguments, options)
        return read_by(self.payloads, result)  # type: ignore[no-any-return]

    def _accompanied_push(
        self, verb: Verb[Any], arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        if not PUSHES.are_wanted():
            return self._push(verb, arguments, options)
        queue, values = arguments
        given = options.get("headers")
        push = Push(queue=queue, count=len(values), headers=given, url=url_of(self.bind))
        return accompanied(
            push, lambda headers: self._push(verb, arguments, {**options, "headers": headers})
        )

    def _push(self, verb: Verb[Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        queue, values = arguments
        offload = self.concurrency.offload

        def elsewhere(work: Callable[[], Any]) -> Any:
            if verb.check is not None:  # before anything is stored
                verb.check(queue, options)
            return offload(work)

        keys = options.get("unique_keys") or ()
        prepared = self.payloads.prepare(values, queue, unique_keys=keys, elsewhere=elsewhere)
        is_stored = any(map(_uri_of, prepared))
        try:
            messages = self._execute(verb, (queue, prepared), options)
        except BaseException as error:
            if is_stored and (isinstance(error, XclaimError) or not _has_begun()):
                offload(partial(self.payloads.discard, prepared, error))
            raise  # after an error of the database nobody knows what was done
        if is_stored:
            offload(partial(delete_unused, self.payloads, prepared, messages))
        return messages

    def _ack(self, verb: Verb[Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        claims = verb.claims_in(arguments)
        try:
            result = self._execute(verb, arguments, options)
        except ClaimLostError as error:
            self.delete_consumed(claims, error)
            raise
        self.delete_consumed(claims)
        return result

    def delete_consumed(self, claims: Iterable[Claim], error: BaseException | None = None) -> None:
        """Delete the objects of claims whose ack was committed, unless payloads are kept."""
        if self._commits:
            self._offload(partial(delete_consumed, self.payloads, claims, error))

    def _delete(self, verb: Verb[Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        removed: list[OwnObject] = []
        result = self._execute(verb, arguments, {**options, "removed": removed})
        self._offload(partial(delete_objects, self.payloads, removed))
        return result

    def _offload(self, work: Callable[[], T]) -> T:
        # Without a storage there is nothing that an event loop would have to wait for.
        return work() if self.payloads.storage is None else self.concurrency.offload(work)

    def _execute(self, verb: Verb[T], arguments: tuple[Any, ...], options: dict[str, Any]) -> T:
        options["schema"] = self._schema
        if self._notify and verb.notifies:
            options["notify"] = True
        if verb.retries:
            options.setdefault("retry", self.retry)
        run = partial(_on, verb=verb, arguments=arguments, options=options)
        try:
            return self._on_the_bind(run)  # type: ignore[no-any-return]
        except SQLAlchemyError as error:
            self._say_where(error)
            raise

    @contextmanager
    def saying_where(self) -> Iterator[None]:
        """Let errors of the database say where it is, as those of verbs do."""
        try:
            yield
        except SQLAlchemyError as error:
            self._say_where(error)
            raise

    def _say_where(self, error: SQLAlchemyError) -> None:
        where = self._whereabouts
        if where is not None and where not in getattr(error, "__notes__", ()):
            error.add_note(where)


def _way_to(bind: Engine | Connection | OrmSession, per_thread: PerThread | None) -> _Way:
    """Return what runs something on a connection of the bind."""
    match bind:
        case Engine() as engine:
            run = partial(_on_the_pool, engine) if per_thread is None else per_thread.run
            return forks.awaited(engine, run)
        case Connection() as connection:
            return lambda run: run(connection)
        case OrmSession() as session:
            return lambda run: run(session.connection())


def _on_the_pool(engine: Engine, run: Callable[[Connection], T]) -> T:
    with busy_files.pooled(engine) as connection:
        return run(connection)


def _failure(error: BaseException, claims: list[Claim]) -> dict[str, Any]:
    """Return what the event of a verb says that raised."""
    if not isinstance(error, ClaimLostError):  # of any other error nobody knows what was done
        return {"error": error, "count": 0}
    lost = {claim.token for claim in error.claims}
    settled = [claim for claim in claims if claim.token not in lost]  # of a batch the others were
    return {"error": error, "count": len(settled), "settled": settled, "lost": error.claims}


def _has_begun() -> bool:
    call = current_call()
    return call is None or call.has_begun


def _on(
    connection: Connection, verb: Verb[T], arguments: tuple[Any, ...], options: dict[str, Any]
) -> T:
    begin(connection)
    options["schema"] = translated(connection, options["schema"])
    return verb.function(connection, *arguments, **options)


def _claims_in(result: list[Any]) -> list[Claim]:
    claimed = result[0] if result else None
    if isinstance(claimed, Claim):
        return [claimed]
    return list(claimed or ())


def note_failed_release(error: BaseException, claims: Iterable[Claim], cause: Exception) -> None:
    """Keep the work's own error, and say that the messages come back only after their lease."""
    ids = ", ".join(str(claim.message.id) for claim in claims)
    error.add_note(f"xclaim could not release message {ids}: {cause}")
    _logger.warning(
        "message %s was not released and comes back after its lease", ids, exc_info=cause
    )
