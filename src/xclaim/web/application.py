"""The application: its pages, behind the gate."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from xclaim.errors import InvalidArgumentError
from xclaim.web.airflow_pages import AirflowPages
from xclaim.web.gate import HEALTH, Gate
from xclaim.web.live import Live
from xclaim.web.pages import (
    chosen,
    claims,
    dead_letters,
    doctor,
    messages,
    one_message,
    one_queue,
    push,
    queues,
    switches,
    task,
)
from xclaim.web.pages.metrics import Metrics
from xclaim.web.settings import Settings
from xclaim.web.signing import Signer
from xclaim.web.static_files import STATIC_ROUTE

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from xclaim.web.access import Access
    from xclaim.web.places import Places


def create_app(
    places: Places,
    access: Access,
    *,
    read_only: bool = False,
    hides_payloads: bool = False,
    frame_ancestors: Sequence[str] = (),
    airflow_url: str | None = None,
    secret: bytes | None = None,
    is_only_process: bool = False,
) -> Starlette:
    """Return the dashboard as an ASGI application, to be served or mounted under any path.

    ``places``: the databases it shows; ``access``: says who asks, for every request.
    ``read_only``: nobody acts, whoever asks; ``hides_payloads``: nobody is shown a payload.
    ``frame_ancestors``: who may show it in a frame, as ``'self'``; nobody by default.
    ``airflow_url``: of Airflow's UI, to which the names of runs and task instances are links then.
    ``secret`` signs the forms; the same in all processes that serve one dashboard. By default each
    process makes its own. ``is_only_process``: no other serves this dashboard, so ``/metrics`` may
    count what is consumed: scrapes that are answered by turns would see a counter jump.
    """
    _check_ancestors(frame_ancestors)
    live = Live({**queues.TOPICS, **one_queue.TOPICS})
    routes: list[Route] = [
        Route(HEALTH, _healthy, methods=["GET"]),
        STATIC_ROUTE,
        live.route,
        *queues.ROUTES,
        *one_queue.ROUTES,
        *messages.ROUTES,
        *one_message.ROUTES,
        *dead_letters.ROUTES,
        *claims.ROUTES,
        *doctor.ROUTES,
        *chosen.ROUTES,
        *switches.ROUTES,
        *push.ROUTES,
        *task.ROUTES,
        Metrics(counts=is_only_process).route,
    ]
    settings = Settings(
        places=places,
        access=access,
        signer=Signer(secret or secrets.token_bytes(32)),
        is_read_only=read_only,
        hides_payloads=hides_payloads,
        frame_ancestors=tuple(frame_ancestors),
        airflow=None if airflow_url is None else AirflowPages(airflow_url),
        pages=frozenset(route.path for route in routes),
    )
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Gate, settings=settings)],
        exception_handlers={HTTPException: _pass_on},
    )
    app.state.flows = queues.Flows()
    app.state.live = live  # whoever serves it closes that before it waits for connections
    app.router.redirect_slashes = False  # its redirect would be absolute, and so leave a proxy
    return app


def _check_ancestors(given: Sequence[str]) -> None:
    if isinstance(given, str) or any({*each} & {*";, \r\n"} for each in given):
        raise InvalidArgumentError(
            f"frame_ancestors is {given!r}: pass a sequence of origins, as (\"'self'\",)"
        )


def _healthy(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _pass_on(_request: Request, error: Exception) -> Response:
    """Let the gate make the page of an error, as of all others."""
    raise error
