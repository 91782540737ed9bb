"""A TCP proxy on 127.0.0.1 that can fall silent, as a network does: no FIN, no RST, no answer."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(slots=True)
class _Link:
    client: socket.socket
    server: socket.socket
    sent: bytes = b""
    silent: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """Passes bytes between its own port and a server's until it is told to be silent."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._links: list[_Link] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def silence_those_that_sent(self, text: bytes) -> None:
        """Swallow from now on what goes either way on links whose client has sent the text."""
        for link in self._links:
            if text in link.sent:
                link.silent.set()

    def __enter__(self) -> Self:
        """Accept connections."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close everything."""
        self._listener.close()
        for link in self._links:
            link.client.close()
            link.server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            link = _Link(client, socket.create_connection(self._target))
            self._links.append(link)
            for source, target in ((link.client, link.server), (link.server, link.client)):
                threading.Thread(
                    target=self._pass, args=(link, source, target), daemon=True
                ).start()

    def _pass(self, link: _Link, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                if source is link.client:
                    link.sent += data
                if not link.silent.is_set():
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return
