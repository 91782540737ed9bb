"""What reads bytes of others. Each either returns a value or raises an error of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from io import BytesIO
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import click

from xclaim import Claim, Message, Payloads, Queue, Ticket, XclaimError
from xclaim.cli.lines import parse_json
from xclaim.cli.options import duration
from xclaim.connections.engine import parse_url
from xclaim.operations.migrate import upgrade
from xclaim.payloads.codecs.typed_json import TypedJson
from xclaim.payloads.plain_json import encode

_KEY = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U="  # of nobody


@dataclass
class Order:
    """A dataclass that payloads may name."""

    id: int
    lines: Any


class Size(Enum):
    """An enum that payloads may name."""

    LARGE = 1


_READER = Payloads(threshold=100, compression="zstd", keys=_KEY, allow=[Order, Size])


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


def typed_json(data: bytes) -> None:
    """Decode a payload with tags; what was decoded is encoded, and decoded to the same."""
    codec = TypedJson([Order, Size])
    with suppress(XclaimError):
        tagged = codec.to_json(codec.decode(BytesIO(data)))
        if codec.to_json(codec.from_json(tagged)) != tagged:
            raise ValueError(f"{tagged!r} came back as another value")


def row(data: bytes) -> None:
    """Read the payload of a row that somebody changed by hand: whole, and in pieces."""
    value = _value(data)
    codec, stored = (
        (value.get("codec"), value.get("payload")) if isinstance(value, dict) else (0, 0)
    )
    if not isinstance(codec, str):
        return
    with suppress(XclaimError):
        _READER.read(stored, codec, queue="orders")
    with suppress(XclaimError), _READER.open(stored, codec, queue="orders") as file:
        file.read()


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


ALL: tuple[Callable[[bytes], None], ...] = (
    message,
    claim,
    ticket,
    payload,
    url,
    command_line,
    typed_json,
    row,
)


def seeds() -> Iterator[tuple[Callable[[bytes], None], bytes]]:
    """Yield what each decoder accepts, for a fuzzer to begin with."""
    with Queue("orders", "sqlite://") as queue:
        upgrade(queue._queue.bind)
        queue.push({"id": 1, "text": "\u00e9", "list": [1.5, None, True]}, unique_key="order-1")
        (claimed,) = queue.claim_many(1, claim_key="task", claimed_by="me")
    yield message, as_json(claimed.message.to_dict())
    yield claim, as_json(claimed.to_dict())
    yield ticket, as_json(Ticket.of([claimed]).to_dict())
    yield payload, as_json(claimed.payload)
    for value in _typed_values():
        yield typed_json, as_json(TypedJson([Order, Size]).to_json(value))
    for value in (*_typed_values(), b"raw", "x" * 200):
        (prepared,) = _READER.prepare([value], "orders")
        stored = {"codec": prepared.codec, "payload": json.loads(prepared.text)}
        yield row, as_json(stored)
    yield url, b"postgresql://user:password@host:5432/database?prepare_threshold=none"
    yield command_line, b'{"id": 1}'
    yield command_line, b"1.5h"


def _typed_values() -> Iterator[Any]:
    berlin = ZoneInfo("Europe/Berlin")
    yield Order(1, {Decimal("1.10"), frozenset({(1, b"2")})})
    yield {"$": datetime(2026, 1, 1, tzinfo=berlin, fold=1), 1: time(12, tzinfo=UTC)}
    yield [
        Size.LARGE,
        UUID(int=1),
        bytearray(b"\x00"),
        1e22,
        2j,
        "\x00",
        2**9_000,
        date(2026, 1, 1),
    ]
    yield [timezone(timedelta(hours=1), "CET"), timedelta(1)]


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
