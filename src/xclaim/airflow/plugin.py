"""What xclaim adds to every Airflow process: the listener, and to the API server the dashboard.

Every task loads this module, so the dashboard is only named here. It is imported with the first
request for it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from xclaim.airflow.versions import AirflowPlugin

from xclaim.airflow import listener
from xclaim.airflow.provider import DASHBOARD, TASK_TAB
from xclaim.telemetry import instrument_if_asked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_RUN = f"{DASHBOARD}/task?dag={{DAG_ID}}&run={{RUN_ID}}"
_MISSING = (
    b"The dashboard needs xclaim's extra web where the API server runs: pip install 'xclaim[web]'\n"
)


class Dashboard:
    """The dashboard as an ASGI application, which is made when it is first asked for."""

    def __init__(self) -> None:
        self._application: Application | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        :param scope: as ASGI defines it.
        :param receive: as ASGI defines it.
        :param send: as ASGI defines it.
        """
        if self._application is None:
            self._application = _made()
        await self._application(scope, receive, send)


def _made() -> Application:
    try:
        from xclaim.airflow.dashboard.application import make
    except ModuleNotFoundError as error:
        logging.getLogger(__name__).warning("the dashboard needs the extra web: %s", error)
        return _say_what_is_missing
    return make()


async def _say_what_is_missing(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": _MISSING})


class XclaimPlugin(AirflowPlugin):
    """The listener that gives back early, and the dashboard: a menu entry and two tabs."""

    name = "xclaim"
    listeners = [listener]  # noqa: RUF012  (as Airflow declares it)
    fastapi_apps = [  # noqa: RUF012
        {"app": Dashboard(), "url_prefix": f"/{DASHBOARD}", "name": "xclaim"}
    ]
    # Without a leading slash, so that they also work where Airflow is not at the root of its host.
    external_views = [  # noqa: RUF012
        {
            "name": "xclaim queues",
            "href": f"{DASHBOARD}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "xclaim",
        },
        {
            "name": "Messages",
            "href": _RUN,
            "destination": "dag_run",
            "url_route": "xclaim-run",
        },
        {
            "name": "Messages",
            "href": f"{_RUN}&task={{TASK_ID}}&map={{MAP_INDEX}}",
            "destination": "task_instance",
            "url_route": TASK_TAB,
        },
    ]


instrument_if_asked()  # XCLAIM_OTEL=1: every process of Airflow loads its plugins
