"""What can go wrong, as a page that says the way out. It shows no statement and no traceback."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from xclaim.errors import (
    HiddenRowsError,
    InvalidArgumentError,
    ObservationTimeoutError,
    SchemaVersionError,
    XclaimError,
)
from xclaim.observing.asking import is_ended, is_locked_out
from xclaim.web.access import AccessDeniedError
from xclaim.web.addresses import Scope, address
from xclaim.web.rendering import render

_logger = logging.getLogger("xclaim")


class PageNotFoundError(Exception):
    """There is no such page, queue, message or place."""


PLACE_NAMES = "xclaim.place_names"  # of a request: of the places that the person may open
_UNAUTHORIZED, _NOT_FOUND = 401, 404
_OURS: tuple[tuple[type[XclaimError], int, str], ...] = (
    (SchemaVersionError, 503, "No messages here yet"),
    (HiddenRowsError, 403, "Refused"),
    (InvalidArgumentError, 400, "That cannot be"),
)
_LOCKED = (
    "Somebody has locked the table or the file; of a table, pg_locks and pg_stat_activity say who. "
    "Reload the page when they are done."
)
_SLOW = (
    "Reload the page, or ask for less: one queue, a shorter time. Whoever runs the dashboard can "
    "give each look more time: --timeout of `xclaim dashboard`, dashboard_timeout of [xclaim] in "
    "Airflow, timeout= of a Place."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as somebody is told of it: what happened, and the way out."""

    status: int
    title: str
    text: str
    way_out: str = ""
    sign_in: str | None = None  # the address at which one does


def failure_of(error: BaseException) -> Failure:
    """Return what to say of an error; of one that is not ours, nothing that it says itself."""
    match error:
        case AccessDeniedError():
            title = "Not signed in" if error.status == _UNAUTHORIZED else "Refused"
            return Failure(
                status=error.status, title=title, text=error.reason, sign_in=error.sign_in
            )
        case PageNotFoundError():
            return Failure(status=_NOT_FOUND, title="Not found", text=str(error))
        case XclaimError() if not isinstance(error, NoConnectionError):
            return _of_xclaim(error)
        case HTTPException():
            return _of_http(error)
        case SQLAlchemyError():
            return _of_database(error)
        case _:
            text = "This is a fault of the dashboard or of what it uses; its log has the details."
            way_out = "Reload the page. If that does not help, report what the log says."
            return Failure(status=500, title="Something broke", text=text, way_out=way_out)


def _of_http(error: HTTPException) -> Failure:
    if error.status_code == _NOT_FOUND:
        text = "There is no such page here."
        return Failure(status=_NOT_FOUND, title="Not found", text=text)
    text = "This address is for something else: it does not take what was sent to it."
    return Failure(status=error.status_code, title="Refused", text=text)


def _of_xclaim(error: XclaimError) -> Failure:
    if isinstance(error, ObservationTimeoutError):
        return Failure(
            status=503,
            title="That took too long",
            text=error.what_happened,
            way_out=_LOCKED if error.is_locked else _SLOW,
        )
    for kind, status, title in _OURS:
        if isinstance(error, kind):
            return Failure(status=status, title=title, text=str(error))
    return Failure(status=409, title="Refused", text=str(error))


def _of_database(error: SQLAlchemyError) -> Failure:
    if isinstance(error, NoConnectionError):
        return Failure(
            status=503,
            title="All connections are in use",
            text="Other pages, or the application that this dashboard is in, have every connection "
            "to the database; none came free in time.",
            way_out="Reload the page in a while. `xclaim doctor` says whether something is locked, "
            "which makes all of them wait.",
        )
    if isinstance(error, DBAPIError) and (is_locked_out(error) or is_ended(error)):
        return Failure(
            status=503,
            title="Locked just now",
            text="Somebody else has locked the messages, or the database has much to do: it did "
            "not answer in time, and nothing was done.",
            way_out="Try again in a while. `xclaim doctor` says who holds up the others.",
        )
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    if state == "42501":  # insufficient_privilege
        return Failure(
            status=403,
            title="Refused",
            text="The role of this dashboard may not do that in the database.",
            way_out="Use a role that may: `xclaim grants` makes them.",
        )
    reason = type(error.orig).__name__ if isinstance(error, DBAPIError) else type(error).__name__
    return Failure(
        status=503,
        title="The database cannot be reached",
        text=f"It did not answer, or refused ({reason}).",
        way_out="`xclaim doctor` says what is wrong with it. This page works again when it does.",
    )


def failure_page(scope: Scope, error: BaseException, **context: Any) -> Response:
    """Return the page for an error, with the headers that it asks for.

    It leads to all places: the first may be the one that fails, and others not.
    """
    failure = failure_of(error)
    names: Sequence[str] = scope.get(PLACE_NAMES, ())
    if failure.status >= 500 and not isinstance(error, XclaimError | AccessDeniedError):  # noqa: PLR2004
        _logger.error("a page failed: %s", type(error).__name__, exc_info=error)
    if isinstance(error, AccessDeniedError) and "location" in error.headers:
        return Response(status_code=error.status, headers=error.headers)
    response = render(
        "failure.html",
        status=failure.status,
        failure=failure,
        home=address(scope, ""),
        root=address(scope, ""),
        places={name: address(scope, "queues", place=name) for name in names},
        **context,
    )
    if isinstance(error, AccessDeniedError):
        response.headers.update(error.headers)
    elif isinstance(error, HTTPException):
        response.headers.update(error.headers or {})
    return response
