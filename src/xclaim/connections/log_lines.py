"""What a verb says in the log ``xclaim``: which messages, at which attempt, and what comes next.

One line for each verb that has changed something, and one for each message that failed. Never a
payload, a header, a key or a token, and of an error its class only: its text may quote a payload.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from xclaim.arguments import dead_letter_queue, visible
from xclaim.claims import Claim
from xclaim.errors import ClaimLostError, QueueFullError, schema_option, suggested
from xclaim.limits import Limits, Pause
from xclaim.message import Message
from xclaim.retry import RETRY
from xclaim.verb import Verb

Line = tuple[int, str]  # a level of logging, and the text

_MOST_IDS = 5  # that are listed; of more the first ones and the last
_MOST_CHARACTERS = 200  # of a claimant, or of the name of an error's class
_logger = logging.getLogger("xclaim")
_IN_LINE = "it stands in line again"


def is_wanted(verb: Verb[Any], least: int) -> bool:
    """Return whether the log takes what the verb has to say when it goes well.

    Lines of a level below ``least`` are raised to it.
    """
    level = _LEVELS.get(verb.function.__name__)
    # Asked for each verb: max() would take a third longer.
    return level is not None and _logger.isEnabledFor(level if level > least else least)  # noqa: FURB136


def lines(
    verb: Verb[Any],
    arguments: Sequence[Any],
    options: Mapping[str, Any],
    result: Any = None,
    lost: ClaimLostError | None = None,
) -> list[Line]:
    """Return what the verb has to say: of its result, or of the claims it has lost."""
    queue = verb.queue_in(arguments)
    if queue is None:
        return []
    missing = {claim.token for claim in lost.claims} if lost is not None else set()
    held = [claim for claim in verb.claims_in(arguments) if claim.token not in missing]
    said = [] if lost is None else [_lost(queue, lost.claims, verb.name)]
    if verb.name in _LINES and (lost is None or held):
        _, build = _LINES[verb.name]
        said += build(_Run(queue, held, options, result))
    return said


def lapsed(queue: str, schema: str | None, rows: Sequence[Any]) -> list[Line]:
    """Return what there is to say of messages that were given back because their lease ran out.

    A row has id, queue, attempts and available_at, as they are now.
    """
    back = [row for row in rows if row.queue == queue]
    dead = [row for row in rows if row.queue != queue]
    said = []
    if back:
        # What was claimed along with another of its line has no such time: it stands in line again.
        times = [row.available_at for row in back if row.available_at is not None]
        again = f"next try by {_time(max(times))}" if times else _IN_LINE
        said.append((logging.WARNING, f"{_lapsed(queue, back)}, {again}"))
    if dead:
        said.append((logging.WARNING, f"{_lapsed(queue, dead)}, {_dead(queue, schema, len(dead))}"))
    return said


def operator() -> str:
    """Return who runs this process, as ``user@host``."""
    import getpass  # which few processes need

    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def write(
    make: Callable[[], list[Line]], *, least: int = logging.DEBUG, is_open: bool = False
) -> None:
    """Log the lines. ``is_open``: in a transaction that may still be rolled back.

    What fails here, in a filter of the log say, must not hide a claim that was made.
    """
    end = ", in the open transaction" if is_open else ""
    with suppress(Exception):
        for level, text in make():
            _logger.log(max(level, least), "%s", visible(text + end))


class _Run(NamedTuple):  # a dataclass would double the time that this module takes to import
    """A verb that was run: which of its claims it has settled, with which options."""

    queue: str
    claims: list[Claim]
    options: Mapping[str, Any]
    result: Any

    @property
    def schema(self) -> str | None:
        """The PostgreSQL schema of its table, if one is said."""
        schema: str | None = self.options.get("schema")
        return schema


def _pushed(run: _Run) -> list[Line]:
    repeated = set(run.options.get("repeated") or ())
    ids = [message.id for message in run.result]
    fresh = [id_ for id_ in dict.fromkeys(ids) if id_ not in repeated]
    parts = [f"pushed {_messages(fresh)}"] if fresh or not repeated else ["pushed nothing"]
    if repeated:
        verb = "were" if len(repeated) > 1 else "was"
        parts.append(f"{_messages(sorted(repeated))} {verb} there already")
    if fresh and run.options.get("delay"):
        last = run.result[-1]
        from_ = last.available_at or last.created_at + run.options["delay"]
        parts.append(f"to be claimed from {_time(from_)}")
    return [(logging.INFO, f"{run.queue}: {', '.join(parts)}")] if ids else []


def _claimed(run: _Run) -> list[Line]:
    claims = [run.result] if isinstance(run.result, Claim) else list(run.result or ())
    if not claims:
        return []
    first, messages = claims[0], [claim.message for claim in claims]
    what = f"{run.queue}: claimed {_messages(sorted(message.id for message in messages))}"
    attempt = _attempt(first.message, run) if len(claims) == 1 else _attempts(messages)
    until = f"until {_time(first.expires_at)}"
    return [(logging.DEBUG, f"{what}, {attempt}, by {_plain(first.claimed_by)} {until}")]


def _acked(run: _Run) -> list[Line]:
    if not run.claims:
        return []
    ids = [claim.message.id for claim in run.claims]
    attempts = _attempts([claim.message for claim in run.claims])
    return [(logging.DEBUG, f"{run.queue}: acked {_messages(ids)}, {attempts}")]


def _acked_and_claimed(run: _Run) -> list[Line]:
    return _acked(run) + _claimed(run)


def _handed_back(run: _Run) -> list[Line]:
    if not run.claims:
        return []
    ids = [claim.message.id for claim in run.claims]
    return [(logging.DEBUG, f"{run.queue}: handed back {_messages(ids)}, uncounted")]


def _released(run: _Run) -> list[Line]:
    if not run.options.get("count", True):
        return _handed_back(run)
    message: Message = run.result
    error = run.options.get("error")
    what = f"{run.queue}: message {message.id}"
    attempt = _attempt(message, run)
    if message.queue != run.queue:
        how = f"failed{_class_of(message)}" if error is not None else "was released"
        return [(logging.WARNING, f"{what} {how} in {attempt}, {_dead(run.queue, run.schema)}")]
    is_in_line = message.available_at is None
    if error is not None:
        until = _IN_LINE if is_in_line else f"next try at {_time(message.available_at)}"
        return [(logging.WARNING, f"{what} failed{_class_of(message)} in {attempt}, {until}")]
    is_delayed = run.options.get("delay") is not None
    until = f"from {_time(message.available_at)}" if is_delayed else "at once"
    again = _IN_LINE if is_in_line else f"it can be claimed {until}"
    return [(logging.INFO, f"{what} was released in {attempt}, {again}")]


def _kept(run: _Run) -> list[Line]:
    message: Message = run.result
    what = (
        f"{run.queue}: message {message.id} failed{_class_of(message)} in {_attempt(message, run)}"
    )
    until = f"until {_time(message.claim_expires_at)}"
    kept = f"kept for another try of {_plain(message.claimed_by)} {until}"
    return [(logging.WARNING, f"{what}, {kept}")]


def _redriven(run: _Run) -> list[Line]:
    to = run.options.get("to") or run.queue
    return _counted(run, "redrove", "dead letter", f" to {to}")


def _pruned(run: _Run) -> list[Line]:
    return _counted(run, "pruned", "consumed message")


def _withdrawn(run: _Run) -> list[Line]:
    return _counted(run, "withdrew", "message")


def _paused(run: _Run) -> list[Line]:
    pause: Pause = run.result
    since = f"since {_time(pause.paused_at)} by operator {_plain(pause.paused_by)}"
    why = f" ({_plain(pause.reason)})" if pause.reason else ""
    by = run.options.get("by") or operator()
    asked = "" if by == pause.paused_by else f", which operator {_plain(by)} has asked for again"
    way_back = f"unpause() or {_command('unpause', run.queue, run.schema)} lets it go on"
    return [(logging.WARNING, f"{run.queue}: paused {since}{why}{asked}; {way_back}")]


def _unpaused(run: _Run) -> list[Line]:
    if not run.result:
        return []
    by = run.options.get("by") or operator()
    return [(logging.WARNING, f"{run.queue}: unpaused by operator {_plain(by)}")]


def _backlog_limited(run: _Run) -> list[Line]:
    most, on_full = run.options.get("max_backlog"), run.options.get("on_full", "raise")
    by = f"set by operator {_plain(run.options.get('by') or operator())}"
    if most is None:
        return [(logging.INFO, f"{run.queue}: any number of messages may wait, {by}")]
    does = {"raise": "raise", "wait": "wait", "skip": "are skipped"}[on_full]
    noun = "message" if most == 1 else "messages"
    return [(logging.INFO, f"{run.queue}: {most:,} {noun} may wait, then pushes {does}, {by}")]


def full(error: QueueFullError) -> Line:
    """Return what there is to say of a push that its queue had no room for."""
    noun = "message was" if error.count == 1 else "messages were"
    most = f"{error.max_backlog:,} may wait"
    return logging.INFO, f"{error.queue}: {error.count:,} {noun} not pushed: it is full, {most}"


def _limited(run: _Run) -> list[Line]:
    limits: Limits = run.result
    by = run.options.get("by") or operator()
    return [(logging.INFO, f"{run.queue}: limits set to {limits} by operator {_plain(by)}")]


def _counted(run: _Run, verb: str, noun: str, end: str = "") -> list[Line]:
    if not run.result:
        return []
    what = f"{run.result:,} {noun}{'s' if run.result > 1 else ''}"
    return [(logging.INFO, f"{run.queue}: {verb} {what}{end}")]


def _lost(queue: str, claims: Sequence[Claim], verb: str) -> Line:
    noun = "claims" if len(claims) > 1 else "claim"
    ids = _messages([claim.message.id for claim in claims])
    # No warning: whoever lost it gets the error.
    return logging.INFO, f"{queue}: {verb} found the {noun} on {ids} lost, others may have it"


def _messages(ids: Sequence[int]) -> str:
    if len(ids) == 1:
        return f"message {ids[0]}"
    shown = ", ".join(map(str, ids[:_MOST_IDS]))
    if len(ids) > _MOST_IDS:
        shown = f"{', '.join(map(str, ids[: _MOST_IDS - 2]))} ... {ids[-1]}"
    return f"{len(ids):,} messages ({shown})"


def _attempt(message: Message, run: _Run) -> str:
    limit = run.options.get("retry", RETRY).limit_of(message)
    return f"attempt {message.attempts}" + (f" of {limit}" if limit is not None else "")


def _lapsed(queue: str, rows: Sequence[Any]) -> str:
    noun = "leases" if len(rows) > 1 else "lease"
    ids = sorted(row.id for row in rows)
    return f"{queue}: the {noun} on {_messages(ids)} ran out, {_attempts(rows)}"


def _attempts(messages: Sequence[Any]) -> str:
    attempts = [message.attempts for message in messages]
    least, most = min(attempts), max(attempts)
    return f"attempt {most}" if least == most else f"attempts {least} to {most}"


def _dead(queue: str, schema: str | None, count: int = 1) -> str:
    dead = dead_letter_queue(queue)
    what, them = ("dead letters", "them") if count > 1 else ("a dead letter", "it")
    way_back = f"redrive() or {_command('redrive', queue, schema)} brings {them} back"
    return f"{what} in {dead} now: {way_back}"


def _command(words: str, queue: str, schema: str | None) -> str:
    return suggested(words, queue, option=schema_option(schema))


def _class_of(message: Message) -> str:
    return f" ({_plain(message.last_error_class)})" if message.last_error_class else ""


def _plain(text: str | None) -> str:
    # A claimant may be any text, also one that would begin a line of its own.
    return visible((text or "")[:_MOST_CHARACTERS])


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


# Of each verb the highest level of its lines when it goes well. One that is not here says only
# which claims it found lost.
_LINES: dict[str, tuple[int, Callable[[_Run], list[Line]]]] = {
    "push_many": (logging.INFO, _pushed),
    "claim_many": (logging.DEBUG, _claimed),
    "claim_message": (logging.DEBUG, _claimed),
    "poll": (logging.DEBUG, _claimed),
    "resume": (logging.DEBUG, _claimed),
    "take_back": (logging.DEBUG, _claimed),
    "ack": (logging.DEBUG, _acked),
    "ack_many": (logging.DEBUG, _acked),
    "ack_again": (logging.DEBUG, _acked),
    "ack_and_claim": (logging.DEBUG, _acked_and_claimed),
    "hand_back": (logging.DEBUG, _handed_back),
    "release": (logging.WARNING, _released),
    "note_failure": (logging.WARNING, _kept),
    "redrive": (logging.INFO, _redriven),
    "pause": (logging.WARNING, _paused),
    "unpause": (logging.WARNING, _unpaused),
    "limit_backlog": (logging.INFO, _backlog_limited),
    "limit": (logging.INFO, _limited),
    "prune": (logging.INFO, _pruned),
    "withdraw": (logging.INFO, _withdrawn),
    "withdraw_by_id": (logging.INFO, _withdrawn),
}
_LEVELS = {name: level for name, (level, _) in _LINES.items()}
