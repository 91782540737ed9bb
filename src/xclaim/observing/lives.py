"""The life of a message: what has happened to it, what will, and what it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.exc import DBAPIError

from xclaim import arguments
from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.errors import ObservationTimeoutError
from xclaim.message import Failure, Status
from xclaim.observing import rows
from xclaim.observing.asking import Question
from xclaim.observing.excerpts import shown_size
from xclaim.observing.json_text import indented
from xclaim.observing.planning import readable
from xclaim.observing.sending import Ask, sendable
from xclaim.observing.values import Happened, Life, Listed, Moment
from xclaim.sql.statements import observing_messages
from xclaim.sql.statements.message_conditions import Readable
from xclaim.sql.statements.observing_messages import MOST_SHOWN
from xclaim.verbs.looking import failures_of
from xclaim.verbs.unsendable import is_unsendable

_EXCERPT = 300
_WHAT = "what became of the message"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """The beginning of a JSON column: None, and why, where it cannot be had."""

    text: str | None = None
    note: str | None = None

    @property
    def is_cut(self) -> bool:
        return self.text is not None and len(self.text) > MOST_SHOWN

    @property
    def shown(self) -> str | None:
        return None if self.text is None else indented(self.text, MOST_SHOWN)


def life(ask: Ask, message_id: int) -> Life | None:
    """Return a message with all that is known of it, None if there is no such message."""
    id_ = arguments.message_id(message_id)
    row, may = sendable(ask, lambda each: _row(each, id_))
    if row is None:
        return None
    headers = _document(ask, id_, "headers") if may.headers else _Document()
    kept = _document(ask, id_, "failures") if may.failures else _Document()
    payload = _payload(ask, row, may)
    excerpt = (payload.text or "")[:_EXCERPT] if may.payload else None
    message = rows.listed(row, excerpt, payload.note)
    failures = [] if kept.text is None or kept.is_cut else failures_of(kept.text)
    if not may.last_error:  # a maintainer may read them to add to them, with the texts in them
        failures = [replace(each, error="") for each in failures]
    producer = None if headers.is_cut else rows.producer(headers.text)
    consumer = rows.claimant(message.consumed_by or message.claimed_by)
    return Life(
        message=message,
        moments=tuple(_moments(message, failures, producer, row.is_lapsed)),
        producer=producer,
        consumer=consumer,
        payload=payload.shown,
        payload_note=payload.note,
        headers=headers.shown,
        is_cut=payload.is_cut,
        attempts_note=_attempts_note(kept),
        headers_note=headers.note if headers.text is None else None,
    )


def _attempts_note(kept: _Document) -> str | None:
    if kept.is_cut:
        return "what is kept of them is too long to be shown"
    return kept.note if kept.text is None else None


def _row(ask: Ask, id_: int) -> tuple[Any, Readable]:
    with ask(_WHAT) as question:
        may = readable(question)
        found = question.texts(observing_messages.look_at, {"message_id": id_}, may=may)
        return (found[0] if found else None), may


def _payload(ask: Ask, row: Any, may: Readable) -> _Document:
    if not may.payload:
        return _Document()
    if row.codec is not None:
        return _Document(note=_encoded(ask, row))
    found = _document(ask, row.id, "payload")
    if found.is_cut:
        said = f"only its first {MOST_SHOWN:,} characters are shown"
        return replace(found, note=said if found.note is None else f"{found.note}: {said}")
    return replace(found, note=None) if found.text is not None else found


def _encoded(ask: Ask, row: Any) -> str:
    with ask(_WHAT) as question:
        (found,) = question.rows(observing_messages.place_of_payload, {"message_id": row.id}) or (
            None,
        )
    if found is not None and found.is_stored:
        return f"encoded as {row.codec}, in the payload storage: it is not read from there"
    return f"encoded as {row.codec}: `xclaim get` reads it"


def _document(ask: Ask, id_: int, name: str) -> _Document:
    """Return the beginning of a JSON column; each is asked for alone, so that it fails alone."""
    try:
        with ask(_WHAT) as question:
            return _read(question, id_, name)
    except DBAPIError as error:
        if not is_unsendable(error):
            raise
        return _Document(note="it cannot be sent: its text is too long, or no Unicode")
    except ObservationTimeoutError as error:
        return _Document(note=f"it is so large that it was not read within {error.seconds:g} s")


def _read(question: Question, id_: int, name: str) -> _Document:
    found = question.rows(observing_messages.document, {"message_id": id_}, name=name)
    if not found or found[0].text is None:
        return _Document()
    return _Document(text=found[0].text, note=shown_size(found[0].size))


def _moments(
    message: Listed, failures: list[Failure], producer: Any, is_lapsed: Any
) -> list[Moment]:
    happened = [
        Moment(at=message.created_at, what=Happened.PUSHED, task=producer),
        *_waiting(message),
        *map(_failed, failures),
        *_died(message, failures),
        *_claimed(message, is_lapsed=bool(is_lapsed)),
    ]
    return sorted(happened, key=lambda moment: moment.at)


def _waiting(message: Listed) -> Iterator[Moment]:
    """Yield when its delay was over, or will be: that of its push, or of its last failure."""
    if message.available_at is None:
        return
    if message.is_delayed:
        yield Moment(at=message.available_at, what=Happened.COMES_BACK)
    elif message.available_at > message.created_at and not _has_died(message):
        yield Moment(at=message.available_at, what=Happened.AVAILABLE)


def _failed(failure: Failure) -> Moment:
    return Moment(
        at=failure.at,
        what=Happened.FAILED,
        by=failure.claimed_by,
        task=rows.claimant(failure.claimed_by),
        attempt=failure.attempt,
        error_class=failure.error_class,
        error=failure.error or None,
    )


def _died(message: Listed, failures: list[Failure]) -> Iterator[Moment]:
    """Yield when it became a dead letter: since then it is available as one.

    One that was claimed as a dead letter and failed rests: then its last failure is the nearest.
    """
    if not _has_died(message):
        return
    is_at_rest = message.is_delayed or message.attempts > (message.max_attempts or 0) > 0
    at = failures[-1].at if is_at_rest and failures else message.available_at
    if at is None:
        return
    yield Moment(
        at=at,
        what=Happened.DIED,
        attempt=message.attempts,
        error_class=message.error_class,
        error=message.error,
    )


def _has_died(message: Listed) -> bool:
    is_elsewhere = message.queue != message.origin_queue
    return is_elsewhere and message.queue.endswith(DEAD_LETTER_SUFFIX)


def _claimed(message: Listed, *, is_lapsed: bool) -> Iterator[Moment]:
    by = message.consumed_by if message.status == Status.CONSUMED else message.claimed_by
    task = rows.claimant(by)
    if message.claimed_at is not None:
        yield _of_claim(message.claimed_at, Happened.CLAIMED, message, by, task)
    if message.claim_expires_at is not None:
        what = Happened.LAPSED if is_lapsed else Happened.COMES_BACK
        yield _of_claim(message.claim_expires_at, what, message, by, task)
    if message.consumed_at is not None:
        yield _of_claim(message.consumed_at, Happened.CONSUMED, message, by, task)


def _of_claim(at: datetime, what: Happened, message: Listed, by: str | None, task: Any) -> Moment:
    return Moment(at=at, what=what, by=by, task=task, attempt=message.attempts)
