"""A real server for an application, at a free port of the loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.eventually import until


@dataclass
class Recorded:
    """An application with all that it has sent: a browser forgets a page when it leaves it."""

    app: ASGIApp
    parts: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def record(message: Message) -> None:
            if body := message.get("body"):
                self.parts.append(body)
            await send(message)

        await self.app(scope, receive, record)

    @property
    def sent(self) -> str:
        return b"".join(self.parts).decode()


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Serve an application at a free port of the loopback; yield its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.force_exit = True  # a stream of events would be waited for
        thread.join()
