"""How a claim takes messages: where it starts, within limits, and what it gives back on the way."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache, lru_cache, partial
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple, NotRequired, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from xclaim import arguments
from xclaim.claims import Claim, claim_of
from xclaim.connections.autocommit import is_autocommit
from xclaim.message import Fill, Status, always, message_of
from xclaim.retry import RETRY, Retry
from xclaim.sql import statements
from xclaim.sql.dialects import dialect_of, text_of, token_of
from xclaim.sql.statements import ClaimedRow, Start
from xclaim.verbs.execution import as_utc, execute, headers_of
from xclaim.verbs.failing import limit_parameters
from xclaim.verbs.hints import Hints, lately_of, position_of, recall, start_of
from xclaim.verbs.limiting import known_limits, rows_within, seen_vacancy
from xclaim.verbs.ordering import pass_owed
from xclaim.verbs.unsendable import Candidates, claim_the_others
from xclaim.verbs.upkeep import expire_some, may_have_lapsed

_SWEEP_SIZE = 100  # lapsed claims that one claim gives back at most
_MOST_OWED = 1_000  # turns of ordering keys that it passes on at most, or about so many
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Who(TypedDict):
    """The options of a claim, as ``claim_many`` explains them."""

    claimed_by: str | None
    claim_key: str | None
    lease: timedelta
    whole_lines: NotRequired[bool]
    retry: Retry
    schema: str | None


@cache
def default_claimant(process_id: int) -> str:
    """Return ``host:pid``."""
    return f"{socket.gethostname()}:{process_id}"


class Request(NamedTuple):  # a dataclass takes thrice as long to make, for each claim
    """The checked arguments of a claim, and what is remembered of its queue.

    ``resumes``: what an earlier attempt holds is taken back first.
    """

    schema: str | None
    limit: int
    parameters: Mapping[str, Any]
    retry: Retry
    hints: Hints
    whole_lines: bool
    resumes: bool

    def limit_if_it_resumes(self) -> Mapping[str, Any]:
        """Return the parameters that only a claim needs which takes something back."""
        return limit_parameters(self.retry) if self.resumes else _NOTHING


def request(connection: Connection, queue: str, limit: int, **who: Unpack[Who]) -> Request:
    """Return the checked arguments. Raise InvalidArgumentError for one that is out of range."""
    said = queue, who["claimed_by"], who["claim_key"], who["lease"]
    try:
        parameters = _known_parameters(*said, os.getpid())
    except TypeError:  # of what has no hash, which is refused by its name
        parameters = _parameters(*said, os.getpid())
    hints = recall(connection, who["schema"], queue)
    retry = who.get("retry", RETRY)
    size = arguments.limit(limit)
    whole_lines = size > 1 and bool(who.get("whole_lines", False))
    resumes = parameters["key"] is not None
    return Request(who["schema"], size, parameters, retry, hints, whole_lines, resumes)


def _parameters(
    queue: str, claimed_by: str | None, claim_key: str | None, lease: timedelta, process_id: int
) -> Mapping[str, Any]:
    claimant = arguments.optional_key("claimed_by", claimed_by)
    return {
        "queue_name": arguments.queue_name(queue),
        "claimant": claimant or default_claimant(process_id),
        "key": arguments.optional_key("claim_key", claim_key),
        "lease_seconds": arguments.seconds("lease", lease),
    }


# A worker says the same each time, and to check it takes four times as long. By their types, too:
# a member of an enumeration that is equal to a text would be returned for it.
_known_parameters = lru_cache(1_000, typed=True)(_parameters)


def token_parameters(connection: Connection) -> Mapping[str, Any]:
    """Return of what one statement makes its tokens: for each execution anew."""
    return dialect_of(connection.dialect.name).token_parameters()


def sweep_if_due(connection: Connection, asked: Request) -> None:
    """Give lapsed claims back about once a second, but for those the claimant takes back itself.

    A process that has just begun asks first whether there are any: most have none to give back, and
    many claim once.
    """
    if asked.hints.is_sweep_due():
        is_first = not asked.hints.has_swept()
        sweep(connection, asked, spared_key=asked.parameters["key"], asks_first=is_first)


def take(connection: Connection, asked: Request) -> list[Claim]:
    """Claim where the last claim ended, or on top; when that is too little, from the head.

    Of a queue that has limits, as many as these let.
    """
    if not asked.resumes and asked.hints.limits() is not None:
        within = _take_within_limits(connection, asked)
        if within is not None:
            return within
    start, place = start_of(connection, asked.hints)
    began = time.monotonic()
    claims = [] if start is Start.HEAD else _take(connection, asked, start, place)
    if start is Start.POSITION and claims:
        asked.hints.note_claim_behind(time.monotonic() - began)
        return claims
    claims = claims or _take_from_head(connection, asked)
    if start is not Start.POSITION and is_autocommit(connection):
        asked.hints.note_look_back(time.monotonic() - began)
    return claims


def take_lately(connection: Connection, asked: Request) -> list[Claim]:
    """Claim where the last claim ended or what came in lately; now and then, from the head."""
    if asked.hints.limits() is not None:  # what is lately free is a slot
        return take(connection, asked)
    behind = position_of(connection, asked.hints)
    if behind is not None and (claims := _take(connection, asked, *behind)):
        return claims
    lately = lately_of(connection, asked.hints)
    began = time.monotonic()
    if lately is not None:
        claims = _take(connection, asked, *lately)
    elif behind is not None:  # where there was too little
        asked.hints.look_back()
        claims = _take_from_head(connection, asked)
    else:
        claims = take(connection, asked)
    asked.hints.note_look(time.monotonic() - began, everywhere=lately is None)
    return claims


def take_what_is_left(connection: Connection, asked: Request) -> list[Claim]:
    """Claim from the head; if there is nothing, what lapsed claims give back."""
    claims = _take_from_head(connection, asked)
    if claims or not sweep(connection, asked):
        return claims
    return _take_from_head(connection, asked)


def as_claims(rows: Iterable[Sequence[Any]], asked: Request) -> list[Claim]:
    """Return the claimed rows as claims, the next one first."""
    claimed = list(rows)
    if not claimed:
        return []
    said = asked.parameters
    queue = said["queue_name"]
    if len(claimed) > 1:  # RETURNING has no order
        claimed = _in_order(claimed, queue)
    if not asked.hints.has_keys:
        asked.hints.has_keys = any(map(_ordering_key, claimed))
    # The same for all, as are the times of the statement.
    shared = said["claimant"], said["key"], *_times(claimed[0])
    claims = []
    for row in claimed:
        id_, payload, codec, token = _told(row)
        kept = _kept(row), shared
        if codec is not None:
            codec = text_of(codec)
        if token.__class__ is not UUID:
            token = token_of(token)
        message = message_of(kept, _FILL, id=id_, queue=queue, stored=(payload,), codec=codec)
        claims.append(claim_of(message, token))
    return claims


def _columns(*names: str) -> Callable[[Sequence[Any]], Any]:
    return itemgetter(*map(ClaimedRow._fields.index, names))


# Of the place of a row, because by their names the columns of a thousand rows take twice as long.
_told = _columns("id", "payload", "codec", "claim_token")
_times = _columns("claimed_at", "claim_expires_at")
_ordering_key = _columns("ordering_key")
_priority, _available_at = _columns("priority"), _columns("available_at")
_since = _columns("available_at", "id")
# Of a row, for as long as its message lives: not the text of the payload, beside what it was
# parsed to.
_KEPT = (
    "origin_queue",
    "priority",
    "headers",
    "unique_key",
    "attempts",
    "max_attempts",
    "created_at",
    "available_at",
    "last_error",
    "last_error_class",
    "ordering_key",
)
_kept = _columns(*_KEPT)


def _field(name: str, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return how a field is read of what is kept of a row."""
    place = _KEPT.index(name)
    return lambda row: read(row[0][place])


_FILL: Fill = {
    **{name: _field(name, text_of) for name in _KEPT},
    "headers": _field("headers", headers_of),
    "created_at": _field("created_at", as_utc),
    "available_at": _field("available_at", as_utc),
    "claimed_by": lambda row: row[1][0],
    "claim_key": lambda row: row[1][1],
    "claimed_at": lambda row: as_utc(row[1][2]),
    "claim_expires_at": lambda row: as_utc(row[1][3]),
    "status": always(Status.CLAIMED),
    "consumed_at": always(None),
    "consumed_by": always(None),
}


def _in_order(claimed: list[Sequence[Any]], queue: str) -> list[Sequence[Any]]:
    """Return the rows in the order of claims."""
    if None in map(_available_at, claimed):  # some were claimed along with others of their lines
        rows = list(map(ClaimedRow._make, claimed))
        rows.sort(key=_place_in_lines(rows, queue))
        return [*rows]
    claimed.sort(key=_since)
    claimed.sort(key=_priority, reverse=True)
    return claimed


def _take_from_head(connection: Connection, asked: Request) -> list[Claim]:
    if claims := _take(connection, asked, Start.HEAD):
        return claims
    within = _take_within_limits(connection, asked)
    return _take(connection, asked, Start.HEAD) if within is None else within


def _take_within_limits(connection: Connection, asked: Request) -> list[Claim] | None:
    """Claim from a queue that hands out nothing to others because it has limits.

    None: it had some until a moment ago. Else who claims nothing notes when he may.
    """
    size = size_within(connection, asked)
    if not size:
        asked.hints.note_due(None)  # a rate that it had has ended
        return []
    name = asked.parameters["queue_name"]

    def run() -> Sequence[Any]:
        return rows_within(
            connection, asked.schema, size, asked.parameters, whole_lines=asked.whole_lines
        )

    try:
        rows = run()
    except DBAPIError as error:
        rows = claim_the_others(connection, error, run, candidates(asked, Start.HEAD, within=True))
    seen = None if rows else seen_vacancy(connection, name, schema=asked.schema)
    asked.hints.note_due(None if seen is None else seen.due_in)
    if rows:
        return as_claims(rows, asked)
    if seen is not None and seen.limits.are_any:
        return []
    asked.hints.forget_limits()  # to be asked for again: it may be given others at once
    return None


def size_within(connection: Connection, asked: Request) -> int:
    """Return how many messages the limits of the queue may let it claim; 0 if it has none.

    It is asked for them once a second, by claims that find nothing.
    """
    name = asked.parameters["queue_name"]
    found = known_limits(connection, name, asked.hints, schema=asked.schema)
    if found is None:
        return 0
    most = [each for each in (found.concurrency, found.burst) if each is not None]
    return min(asked.limit, *most)


def _take(
    connection: Connection, asked: Request, start: Start, place: Mapping[str, Any] = _NOTHING
) -> list[Claim]:
    build = partial(
        statements.claim,
        limit=asked.limit,
        start=start,
        resumes=asked.resumes,
        whole_lines=asked.whole_lines,
    )
    parameters = {**asked.parameters, **place, **asked.limit_if_it_resumes()}
    prepare = None if asked.hints.is_busy() else False

    def run() -> Sequence[Any]:
        given = {**parameters, **token_parameters(connection)}
        return execute(connection, asked.schema, build, given, named=False, prepare=prepare)

    try:
        rows = run()
    except DBAPIError as error:
        rows = claim_the_others(connection, error, run, candidates(asked, start, place))
    claims = as_claims(rows, asked)
    if claims or start in (Start.HEAD, Start.LATELY):
        asked.hints.remember(connection, claims, start)
    return claims


def candidates(
    asked: Request, start: Start, place: Mapping[str, Any] = _NOTHING, *, within: bool = False
) -> Candidates:
    """Return what a claim would take; ``within`` the limits of its queue, what there is."""
    return Candidates(
        schema=asked.schema,
        build=partial(
            statements.candidates,
            limit=asked.limit,
            start=start,
            resumes=asked.resumes and not within,
            whole_lines=asked.whole_lines,
            within=within,
        ),
        parameters={**asked.parameters, **place, **asked.limit_if_it_resumes()},
    )


def _place(row: ClaimedRow) -> tuple[int, Any, int]:
    # Of a claim that a hand has changed there may be no such time, in whatever line it stands.
    since = row.created_at if row.available_at is None else row.available_at
    return -row.priority, since, row.id


def _place_in_lines(
    claimed: Sequence[ClaimedRow], queue: str
) -> Callable[[ClaimedRow], tuple[Any, ...]]:
    """Return the order of claims of whole lines: each line at the place of its leader, by id.

    What is taken back may have no leader any more: then the first of its line is that.
    """
    places: dict[str | None, tuple[Any, ...]] = {}
    for row in sorted(claimed, key=lambda row: (row.available_at is None, row.id)):
        if row.available_at is None:
            places.setdefault(row.ordering_key, _place(row))
        elif text_of(row.origin_queue) == queue:
            places[row.ordering_key] = _place(row)

    def place(row: ClaimedRow) -> tuple[Any, ...]:
        is_in_line = row.ordering_key is not None and text_of(row.origin_queue) == queue
        return (*(places[row.ordering_key] if is_in_line else _place(row)), row.id)

    return place


def sweep(
    connection: Connection,
    asked: Request,
    spared_key: str | None = None,
    *,
    asks_first: bool = False,
) -> int:
    """Give lapsed claims back, and pass turns on that are owed; return how many, about.

    ``asks_first``: only if there are any. ``spared_key``: not those of that claim key.
    """
    asked.hints.sweep()
    queue = asked.parameters["queue_name"]
    count = 0
    if not asks_first or may_have_lapsed(connection, asked.schema, queue):
        count = expire_some(
            connection, asked.schema, queue, _SWEEP_SIZE, retry=asked.retry, spared_key=spared_key
        )
    count += pass_owed(
        connection, asked.schema, queue, most=_MOST_OWED, has_keys=asked.hints.has_keys
    )
    if count:
        asked.hints.forget()
    return count
