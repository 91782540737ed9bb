"""How a claim takes messages: where it starts, within limits, and what it gives back on the way."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NotRequired, TypedDict, Unpack

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from xclaim import arguments
from xclaim.claims import Claim, claim_of
from xclaim.message import Fill, Status, always, message_of
from xclaim.retry import RETRY, Retry
from xclaim.sql import statements
from xclaim.sql.dialects import dialect_of
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


@dataclass(frozen=True, slots=True)
class Request:
    """The checked arguments of a claim, and what is remembered of its queue."""

    schema: str | None
    limit: int
    parameters: Mapping[str, Any]
    retry: Retry
    hints: Hints
    whole_lines: bool = False

    @property
    def resumes(self) -> bool:
        """Whether what an earlier attempt holds is taken back first."""
        return self.parameters["key"] is not None

    def limit_if_it_resumes(self) -> Mapping[str, Any]:
        """Return the parameters that only a claim needs which takes something back."""
        return limit_parameters(self.retry) if self.resumes else _NOTHING


def request(connection: Connection, queue: str, limit: int, **who: Unpack[Who]) -> Request:
    """Return the checked arguments. Raise InvalidArgumentError for one that is out of range."""
    claimed_by = arguments.optional_key("claimed_by", who["claimed_by"])
    parameters = {
        "queue_name": arguments.queue_name(queue),
        "claimant": claimed_by or default_claimant(os.getpid()),
        "key": arguments.optional_key("claim_key", who["claim_key"]),
        "lease_seconds": arguments.seconds("lease", who["lease"]),
    }
    hints = recall(connection, who["schema"], queue)
    retry = who.get("retry", RETRY)
    size = arguments.limit(limit)
    whole_lines = size > 1 and bool(who.get("whole_lines", False))
    return Request(who["schema"], size, parameters, retry, hints, whole_lines)


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
    claims = [] if start is Start.HEAD else _take(connection, asked, start, place)
    return claims or _take_from_head(connection, asked)


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
    claimed = list(map(ClaimedRow._make, rows))
    if not claimed:
        return []
    if len(claimed) > 1:  # RETURNING has no order
        has_lines = any(row.available_at is None for row in claimed)
        by_line = _place_in_lines(claimed, asked.parameters["queue_name"]) if has_lines else None
        claimed.sort(key=by_line or _place)
    if not asked.hints.has_keys:
        asked.hints.has_keys = any(row.ordering_key is not None for row in claimed)
    queue, fill = asked.parameters["queue_name"], _fill(claimed[0], asked.parameters)
    return [
        claim_of(
            message_of(
                _kept(row), fill, id=row.id, queue=queue, stored=(row.payload,), codec=row.codec
            ),
            row.claim_token,
        )
        for row in claimed
    ]


def _fill(first: ClaimedRow, said: Mapping[str, Any]) -> Fill:
    """Return how the fields of claimed messages are read that are not asked for at once."""
    return {
        **_FROM_THE_ROW,
        "claimed_by": always(said["claimant"]),
        "claim_key": always(said["key"]),
        # The same for all, as are the times of the statement.
        "claimed_at": always(as_utc(first.claimed_at)),
        "claim_expires_at": always(as_utc(first.claim_expires_at)),
    }


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
_kept = itemgetter(*map(ClaimedRow._fields.index, _KEPT))
_read = {name: itemgetter(place) for place, name in enumerate(_KEPT)}
_FROM_THE_ROW: Fill = {
    **_read,
    "headers": lambda kept: headers_of(_read["headers"](kept)),
    "created_at": lambda kept: as_utc(_read["created_at"](kept)),
    "available_at": lambda kept: as_utc(_read["available_at"](kept)),
    "status": always(Status.CLAIMED),
    "consumed_at": always(None),
    "consumed_by": always(None),
}


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
    return -row.priority, row.available_at, row.id


def _place_in_lines(
    claimed: Sequence[ClaimedRow], queue: str
) -> Callable[[ClaimedRow], tuple[Any, ...]]:
    """Return the order of claims of whole lines: each line at the place of its leader, by id.

    What is taken back may have no leader any more: then the first of its line is that.
    """
    places: dict[str | None, tuple[Any, ...]] = {}
    for row in sorted(claimed, key=lambda row: (row.available_at is None, row.id)):
        if row.available_at is None:
            places.setdefault(row.ordering_key, (-row.priority, row.created_at, row.id))
        elif row.origin_queue == queue:
            places[row.ordering_key] = _place(row)

    def place(row: ClaimedRow) -> tuple[Any, ...]:
        is_in_line = row.ordering_key is not None and row.origin_queue == queue
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
