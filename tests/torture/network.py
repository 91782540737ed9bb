"""A TCP proxy that cuts connections, is slow, falls silent, and swallows the server's answers.

An answer that is swallowed has been given: the statement is committed, and the client will never
know, because its connection is closed instead.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST instead of FIN


@dataclass(eq=False, slots=True)
class Link:
    """One connection of a client, and what is wrong with it."""

    client: socket.socket
    server: socket.socket
    delay: float = 0.0  # seconds for each answer
    slow_until: float = 0.0
    silent: threading.Event = field(default_factory=threading.Event)
    # The answer to the next statement with this text is swallowed.
    trigger: bytes | None = None
    swallows: threading.Event = field(default_factory=threading.Event)

    def cut(self, *, reset: bool = False) -> None:
        for end in (self.client, self.server):
            try:
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class Network:
    """Passes bytes between its own port and a server's."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._links: set[Link] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def cut(self, random: Random) -> int:
        """Close some connections, with or without a farewell; return how many."""
        links = self._some(random)
        for link in links:
            link.cut(reset=random.random() < 0.5)
        return len(links)

    def slow_down(self, random: Random, seconds: float) -> int:
        """Delay the answers on some connections for a while."""
        links = self._some(random)
        for link in links:
            link.delay = random.uniform(0.02, 0.3)
            link.slow_until = time.monotonic() + seconds
        return len(links)

    def silence(self, random: Random, seconds: float) -> int:
        """Lose every byte on some connections, and close them only after a while."""
        links = self._some(random)
        for link in links:
            link.silent.set()
            timer = threading.Timer(seconds, link.cut)
            timer.daemon = True
            timer.start()
        return len(links)

    def swallow(self, random: Random, text: bytes) -> int:
        """Swallow an answer on some connections: that to the next statement with the text."""
        links = self._some(random)
        for link in links:
            link.trigger = text
        return len(links)

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
        for link in tuple(self._links):
            link.cut()

    def _some(self, random: Random) -> list[Link]:
        with self._lock:
            links = sorted(self._links, key=id)
        return random.sample(links, k=min(len(links), random.randint(1, 3)))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.settimeout(None)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(client, server)
            with self._lock:
                self._links.add(link)
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: Link) -> None:
        asking = threading.Thread(target=self._pass_questions, args=(link,), daemon=True)
        asking.start()
        self._pass_answers(link)
        asking.join()
        with self._lock:
            self._links.discard(link)
        link.client.close()
        link.server.close()

    @staticmethod
    def _pass_questions(link: Link) -> None:
        for data in _received(link.client):
            if link.trigger is not None and link.trigger in data:
                link.swallows.set()
            if not link.silent.is_set() and not _send(link.server, data):
                break
        link.cut()

    @staticmethod
    def _pass_answers(link: Link) -> None:
        for data in _received(link.server):
            if link.swallows.is_set():
                break
            if time.monotonic() < link.slow_until:
                time.sleep(link.delay)
            if not link.silent.is_set() and not _send(link.client, data):
                break
        link.cut()


def _received(end: socket.socket) -> Iterable[bytes]:
    while True:
        try:
            data = end.recv(65_536)
        except OSError:
            return
        if not data:
            return
        yield data


def _send(end: socket.socket, data: bytes) -> bool:
    try:
        end.sendall(data)
    except OSError:
        return False
    return True
