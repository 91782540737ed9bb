"""Forms: what a page posts, and the proof that it is a page of ours that posts it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from starlette.datastructures import ImmutableMultiDict

from xclaim.web.access import AccessDeniedError

if TYPE_CHECKING:
    from starlette.requests import Request

    from xclaim.web.access import Person
    from xclaim.web.signing import Signer

TOKEN_FIELD = "csrf_token"  # noqa: S105  (the name of the field)
_PURPOSE = "form"
_LIFETIME = 24 * 60 * 60  # seconds: a page may be left open for a day
MOST_BYTES = 256 * 1024  # the ids of 10,000 messages take 140 KiB at most, and usually 20
_MOST_FIELDS = 5_000
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

ENCODED = "*"  # ends the name of a hidden field whose value is percent-encoded
Form = ImmutableMultiDict[str, str]


def form_token(signer: Signer, person: Person) -> str:
    """Return what each form of a page carries."""
    return signer.sign(_PURPOSE, person, "")


def decoded(field: tuple[str, str]) -> tuple[str, str]:
    """Return a field of a form as the macro ``hidden()`` was given it."""
    name, value = field
    return (name.removesuffix(ENCODED), unquote(value)) if name.endswith(ENCODED) else field


def plain_query(query: bytes) -> bytes:
    """Return the query of an address with its fields as the macro ``hidden()`` was given them."""
    if b"*" not in query and b"%2a" not in query.lower():
        return query
    fields = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    plain = list(map(decoded, fields))
    return query if plain == fields else urlencode(plain).encode("ascii")


def refuse_foreign(request: Request) -> None:
    """Raise AccessDeniedError for what a page of another site has made the browser ask for.

    Browsers say where a request comes from in ``Sec-Fetch-Site``, and older ones in ``Origin``.
    """
    site = request.headers.get("sec-fetch-site")
    if request.method in _SAFE_METHODS:
        navigates = request.headers.get("sec-fetch-mode", "navigate") == "navigate"
        if site == "cross-site" and not navigates:
            raise AccessDeniedError(403, "another site may only link here, and load nothing")
        return
    if site is not None:
        is_ours = site == "same-origin"
    else:
        origin = request.headers.get("origin")
        is_ours = origin is None or _host_of(origin) == request.headers.get("host")
    if not is_ours:
        raise AccessDeniedError(
            403, "the form was sent by a page of another site: open the page here and send it again"
        )


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


async def read_body(request: Request, most_bytes: int = MOST_BYTES) -> bytes:
    """Return what was posted. Raise AccessDeniedError if that is no form, or too much."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise AccessDeniedError(415, "only forms are read here: application/x-www-form-urlencoded")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most_bytes:
            most = f"{most_bytes // 1024:,} KiB"
            raise AccessDeniedError(413, f"the form is larger than {most}: do it from a program")
    return bytes(body)


def form_of(body: bytes, signer: Signer, person: Person) -> Form:
    """Return the fields of a posted form. Raise AccessDeniedError if no page of ours made it.

    It takes a second for the largest: call it in a thread.
    """
    try:
        fields = parse_qsl(
            body.decode("ascii", errors="replace"),
            keep_blank_values=True,
            errors="replace",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        raise AccessDeniedError(413, "the form has more than 5,000 fields: select fewer") from None
    form = Form([decoded(each) for each in fields])
    token = form.get(TOKEN_FIELD, "")
    if signer.read(_PURPOSE, person, token, lifetime=_LIFETIME) is None:
        raise AccessDeniedError(
            403, "the form is a day old, or was made for somebody else: go back, reload the page"
        )
    return form
