"""A TCP proxy on 127.0.0.1 that fails as networks and servers do.

It can fall silent (no FIN, no RST, no answer), be away (connection refused), and cut a connection
just before or just after the server gets a certain statement.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(slots=True)
class _Link:
    client: socket.socket
    server: socket.socket
    sent: bytes = b""
    silent: threading.Event = field(default_factory=threading.Event)
    deaf: threading.Event = field(default_factory=threading.Event)

    def cut(self) -> None:
        """End both connections, in the middle of whatever they do."""
        for each in (self.client, self.server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Proxy:
    """Passes bytes between its own port and a server's until it is told to be silent."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._links: list[_Link] = []
        self._is_silent = False
        self._cut_before: list[bytes] = []
        self._cut_after: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def silence_those_that_sent(self, text: bytes) -> None:
        """Swallow from now on what goes either way on links whose client has sent the text."""
        for link in self._links:
            if text in link.sent:
                link.silent.set()

    def silence_all(self) -> None:
        """Swallow from now on what goes either way on all links, also on those still to come."""
        self._is_silent = True
        for link in self._links:
            link.silent.set()

    def cut_before(self, text: bytes) -> None:
        """Cut the next connection whose client sends the text; the server does not get it."""
        self._cut_before.append(text)

    def cut_after(self, text: bytes) -> None:
        """Cut the next connection whose client sends the text; the client gets no answer."""
        self._cut_after.append(text)

    def go_away(self) -> None:
        """Cut all connections and refuse new ones."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in self._links:
            link.cut()

    def come_back(self) -> None:
        """Accept connections again, on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

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
            link.cut()

    def _accept(self) -> None:
        listener = self._listener
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            link = _Link(client, socket.create_connection(self._target))
            self._links.append(link)
            if self._is_silent:
                link.silent.set()
            for passing in (self._pass_on, self._pass_back):
                threading.Thread(target=passing, args=(link,), daemon=True).start()

    def _pass_on(self, link: _Link) -> None:
        with suppress(OSError):
            while data := link.client.recv(65_536):
                link.sent += data
                if _take(self._cut_before, data):
                    link.cut()
                if _take(self._cut_after, data):
                    link.deaf.set()
                if not link.silent.is_set():
                    link.server.sendall(data)
            link.server.shutdown(socket.SHUT_WR)

    def _pass_back(self, link: _Link) -> None:
        with suppress(OSError):
            while data := link.server.recv(65_536):
                if link.deaf.is_set():
                    link.cut()
                if not link.silent.is_set():
                    link.client.sendall(data)
            link.client.shutdown(socket.SHUT_WR)


def _take(texts: list[bytes], data: bytes) -> bool:
    found = next((text for text in texts if text in data), None)
    if found is not None:
        texts.remove(found)
    return found is not None
