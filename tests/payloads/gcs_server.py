"""Run gcp-storage-emulator with what it lacks and GCS has: cancelled uploads, and permissions.

`python -m tests.payloads.gcs_server PORT`. The bucket `forbidden` is there and answers 403.
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from socketserver import TCPServer
from types import SimpleNamespace
from typing import Any

from gcp_storage_emulator import server

# https://cloud.google.com/storage/docs/performing-resumable-uploads#cancel-upload
_CANCELLED = SimpleNamespace(value=499, phrase="Client Closed Request")


def _cancel(_request: Any, response: Any, _storage: Any) -> None:
    response.status = _CANCELLED


def _forbid(request: Any, response: Any, _storage: Any) -> None:
    _ = request.data  # or the client, still sending it, takes the answer for a failure
    response.status = HTTPStatus.FORBIDDEN


def main() -> None:
    """Serve until killed."""
    methods = ("GET", "POST", "PUT", "DELETE", "PATCH")
    forbidden = (r"^.*/b/forbidden(/.*)?$", dict.fromkeys(methods, _forbid))
    for pattern, handlers in server.HANDLERS:
        if pattern.startswith("^/upload/"):
            handlers["DELETE"] = _cancel
    TCPServer.request_queue_size = 128  # with 5, more connections at once take a minute
    server.HANDLERS = (forbidden, *server.HANDLERS)
    server.create_server("127.0.0.1", int(sys.argv[1]), in_memory=True).run()


if __name__ == "__main__":
    main()
