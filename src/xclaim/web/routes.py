"""Routes: a page is a function of a visit, and so is an action, which also gets its form.

Both are plain blocking functions, and run in threads: a question to the database never holds up
the event loop. They have threads of their own, so that a slow database takes none from the
application this one is mounted in.

The path of an action is its word, as ``/redrive``: for GET the page that asks, with the queue as
``?queue=``, and for POST what it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
from starlette.routing import Route

from xclaim.web.failures import PLACE_NAMES, PageNotFoundError
from xclaim.web.forms import MOST_BYTES, Form, form_of, read_body
from xclaim.web.visits import Visit

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from xclaim.web.access import Person
    from xclaim.web.places import Place
    from xclaim.web.settings import Settings

THREADS = 12  # of all dashboards in the process: no more than an engine has connections
_T = TypeVar("_T")
_threads: WeakKeyDictionary[asyncio.AbstractEventLoop, anyio.CapacityLimiter] = WeakKeyDictionary()


def page(path: str, show: Callable[[Visit], Response]) -> Route:
    """Return the route of a page, for GET and HEAD; it changes nothing."""

    async def endpoint(request: Request) -> Response:
        return await in_thread(lambda: show(visit_of(request)))

    return Route(path, endpoint, methods=["GET"], name=path)


def action(
    path: str, act: Callable[[Visit, Form], Response], *, most_bytes: int = MOST_BYTES
) -> Route:
    """Return the route of an action, for POST with the form of a page of ours.

    What pages of the place remember from before is forgotten: they would contradict the action.
    """

    async def endpoint(request: Request) -> Response:
        body = await read_body(request, most_bytes)

        def acted() -> tuple[Place, Response]:
            form = form_of(body, settings_of(request).signer, person_of(request))
            visit = visit_of(request, form.get("place"))
            try:
                return visit.place, act(visit, form)
            finally:
                visit.observer.forget()

        place, response = await in_thread(acted)
        request.app.state.flows.forget(place)
        request.app.state.live.forget(place)
        return response

    return Route(path, endpoint, methods=["POST"], name=f"{path} (action)")


async def in_thread(work: Callable[[], _T]) -> _T:
    """Return what the function returns; it is called in one of our threads."""
    return await anyio.to_thread.run_sync(work, limiter=_limiter())


def person_of(request: Request) -> Person:
    """Return who asks, as the gate found out."""
    person: Person = request.scope["xclaim.person"]
    return person


def settings_of(request: Request) -> Settings:
    """Return what the application was made with."""
    settings: Settings = request.scope["xclaim.settings"]
    return settings


def visit_of(request: Request, place_name: str | None = None) -> Visit:
    """Return the visit to a place, by default the one of the address. It may block."""
    place_name = place_name or request.query_params.get("place")
    settings, person = settings_of(request), person_of(request)
    names = request.scope[PLACE_NAMES] = list(settings.places.names(person))
    name = place_name or next(iter(names), None)
    if name is None:
        raise PageNotFoundError(
            f"there is no database that {person.name} may look at: ask who runs this dashboard"
        )
    if name not in names:  # whether there is such a one is not his to know
        raise PageNotFoundError(
            f"there is no place {name!r} that {person.name} may look at: choose another"
        )
    return Visit(
        request=request,
        settings=settings,
        person=person,
        place_names=names,
        place=settings.places.open(name, person),
    )


def _limiter() -> anyio.CapacityLimiter:
    """Return the threads of this event loop: a limiter belongs to the loop it was made in."""
    loop = asyncio.get_running_loop()
    if loop not in _threads:
        _threads[loop] = anyio.CapacityLimiter(THREADS)
    return _threads[loop]
