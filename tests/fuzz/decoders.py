"""What reads bytes of others. Each either returns a value or raises an error of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import click

from xclaim import Claim, Message, Queue, Ticket, XclaimError
from xclaim.cli.lines import parse_json
from xclaim.cli.options import duration
from xclaim.engine import parse_url
from xclaim.migrate import upgrade
from xclaim.payloads.plain import encode


def message(data: bytes) -> None:
    """Read a message as XCom or another process handed it on."""
    _read(Message.from_dict, data)


def claim(data: bytes) -> None:
    """Read a claim."""
    _read(Claim.from_dict, data)


def ticket(data: bytes) -> None:
    """Read a ticket."""
    _read(Ticket.from_dict, data)


def payload(data: bytes) -> None:
    """Encode a payload; what was encoded is read back as it was."""
    value = _value(data)
    with suppress(XclaimError):
        encoded = encode(value)
        if json.loads(encoded.text) != encoded.value:
            raise ValueError(f"{value!r} came back as {encoded.value!r}")


def url(data: bytes) -> None:
    """Read the URL of a database."""
    with suppress(XclaimError):
        parse_url(data.decode(errors="surrogateescape"))


def command_line(data: bytes) -> None:
    """Read a JSON line and a duration as the command line does."""
    text = data.decode(errors="replace")
    with suppress(click.UsageError):
        parse_json(text, "PAYLOAD")
    with suppress(click.BadParameter):
        duration(text)


ALL: tuple[Callable[[bytes], None], ...] = (message, claim, ticket, payload, url, command_line)


def seeds() -> Iterator[tuple[Callable[[bytes], None], bytes]]:
    """Yield what each decoder accepts, for a fuzzer to begin with."""
    with Queue("orders", "sqlite://") as queue:
        upgrade(queue._owned)  # type: ignore[arg-type]
        queue.push({"id": 1, "text": "\u00e9", "list": [1.5, None, True]}, unique_key="order-1")
        (claimed,) = queue.claim_many(1, claim_key="task", claimed_by="me")
    yield message, as_json(claimed.message.to_dict())
    yield claim, as_json(claimed.to_dict())
    yield ticket, as_json(Ticket.of([claimed]).to_dict())
    yield payload, as_json(claimed.payload)
    yield url, b"postgresql://user:password@host:5432/database?prepare_threshold=none"
    yield command_line, b'{"id": 1}'
    yield command_line, b"1.5h"


def as_json(value: Any) -> bytes:
    """Return what a decoder of JSON gets."""
    return json.dumps(value).encode()


def as_utf8(text: str) -> bytes:
    """Return the text as bytes, lone surrogates as they are."""
    return text.encode(errors="surrogatepass")


def _read(from_dict: Callable[[Any], object], data: bytes) -> None:
    with suppress(XclaimError):
        from_dict(_value(data))


def _value(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode(errors="replace")
