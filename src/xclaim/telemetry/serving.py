"""A small server of metrics, for a process that does nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import start_http_server

from xclaim.telemetry.listening import cannot_listen

if TYPE_CHECKING:
    from xclaim.telemetry.prometheus import Exposition


@contextmanager
def serving(exposition: Exposition, host: str, port: int) -> Iterator[tuple[str, Thread]]:
    """Serve the metrics while the block runs; yield their address, and the thread that serves.

    Port 0 is a free one. Raise InvalidArgumentError if it cannot listen there.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exposition)
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(host, port, error) from error
    shown = f"[{host}]" if ":" in host else host
    try:
        yield f"http://{shown}:{server.server_port}/metrics", thread
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
