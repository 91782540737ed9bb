"""The server of ``xclaim dashboard``. It ends at once, whatever pages are open."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import uvicorn
from uvicorn import Config

from xclaim.telemetry.listening import cannot_listen

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send

_GRACE = 1  # seconds, of what is being answered when the server is to end


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. Raise InvalidArgumentError if it cannot be had."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise cannot_listen(host, port, error) from error
    return listener


def serve(app: Starlette, listener: socket.socket, *, root_path: str = "") -> None:
    """Answer until SIGINT or SIGTERM; then end open pages, and return within moments."""
    config = Config(
        under(root_path, app),
        access_log=False,  # it would have the tokens of links
        log_level="warning",
        lifespan="off",
        ws="none",
        proxy_headers=False,  # whose address it is decides whose header is believed
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    _Server(config, app).run(sockets=[listener])


def under(root_path: str, app: ASGIApp) -> ASGIApp:
    """Return the application under a proxy's prefix, whether the proxy takes that off or not."""
    if not root_path:
        return app

    async def with_prefix(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": root_path}, receive, send)

    return with_prefix


class _Server(uvicorn.Server):
    def __init__(self, config: Config, app: Starlette) -> None:
        super().__init__(config)
        self._live = app.state.live

    async def on_tick(self, counter: int) -> bool:
        """Look whether it is to end, ten times a second; if so, end the streams.

        A server waits until all connections are done, and theirs would not be.
        """
        ends = await super().on_tick(counter)
        if ends:
            self._live.close()
        return ends
