"""The style, the script and the icon, read once, and named by a hash of what is in them."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"


def address_of(name: str) -> str:
    """Return the address of a file within the dashboard; it changes when the file does."""
    _, digest = _content(name)
    return f"static/{name}?v={digest}"


def _serve(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _names():
        raise HTTPException(404)
    content, digest = _content(name)
    is_this_one = request.query_params.get("v") == digest
    headers = {"cache-control": _FOR_EVER if is_this_one else "no-cache"}
    return Response(content, media_type=_TYPES[name.rpartition(".")[2]], headers=headers)


@cache
def _names() -> frozenset[str]:
    folder = files("xclaim.web") / "static"
    return frozenset(each.name for each in folder.iterdir() if each.is_file())


@cache
def _content(name: str) -> tuple[bytes, str]:
    content = (files("xclaim.web") / "static" / name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:16]


STATIC_ROUTE = Route("/static/{name}", _serve, methods=["GET"])
