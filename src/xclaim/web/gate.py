"""The one gate: nothing is asked, shown or done before it knows who asks.

It also sets the headers that keep a page from being framed, sniffed or scripted by others, and
turns every error into a page. It is plain ASGI: a stream of events passes through it untouched.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse

from xclaim.web.access import AccessDeniedError, Person
from xclaim.web.addresses import path_of
from xclaim.web.failures import failure_page
from xclaim.web.forms import plain_query, refuse_foreign

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from xclaim.web.settings import Settings

HEALTH = "/healthz"
STATIC = "/static/"
_POLICY_VIOLATION = 1008  # https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1


class Gate:
    """Middleware around everything: who asks, the headers of each answer, the page of an error."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._headers = security_headers(settings.frame_ancestors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let somebody through, or answer for the application."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        # Here, so that whoever says who may do what sees the fields that the pages see.
        query = plain_query(scope["query_string"])
        if query != scope["query_string"]:  # only then: middleware sees what the router adds
            scope = {**scope, "query_string": query}
        scope["xclaim.settings"] = self._settings
        if not path_of(scope):
            onwards = RedirectResponse(_with_slash(scope), status_code=307)
            await onwards(scope, receive, send_with_headers)
            return
        try:
            if not is_open_to_all(path_of(scope)):
                scope["xclaim.person"] = await self._identify(Request(scope))
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if has_begun:
                raise
            response = failure_page(scope, error)
            await response(scope, receive, send_with_headers)

    async def _identify(self, request: Request) -> Person:
        person: Any = await self._settings.access.identify(request)
        if not isinstance(person, Person):
            raise AccessDeniedError(403, "this dashboard cannot tell who asks")
        refuse_foreign(request)
        return replace(
            person,
            may_act=person.may_act and not self._settings.is_read_only,
            may_see_payloads=person.may_see_payloads and not self._settings.hides_payloads,
        )


def _with_slash(scope: Scope) -> str:
    """Return the address of the first page as seen from the bare prefix, with what is asked for.

    A proxy that takes the prefix off leads here from a page that is called as the prefix.
    """
    name = quote(str(scope["path"]).rpartition("/")[2], errors="replace")
    query = quote(scope["query_string"], safe="%/?:@!$&'()*+,;=")
    return f"./{name}/{'?' if query else ''}{query}"


def is_open_to_all(path: str) -> bool:
    """Return whether a path is open without a person: it says nothing of any queue."""
    return path == HEALTH or path.startswith(STATIC)


def security_headers(frame_ancestors: tuple[str, ...]) -> dict[str, str]:
    """Return what every answer carries. A page frames nothing, and is framed by who is named."""
    ancestors = " ".join(frame_ancestors) or "'none'"
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": ancestors,
    }
    headers = {
        "content-security-policy": "; ".join(f"{what} {who}" for what, who in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
        "cache-control": "no-store",
    }
    if not frame_ancestors:
        headers["x-frame-options"] = "DENY"  # for what does not know frame-ancestors
    return headers
