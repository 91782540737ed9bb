"""The attributes that metrics and spans have in common, by the semantic conventions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy import URL

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
SYSTEM = "xclaim"
_POSTGRESQL_PORT = 5432


class Operation(NamedTuple):
    """What the conventions call a verb. ``type`` is None where they have no word for it."""

    name: str
    type: str | None


# Verbs that only look are no operations on messages.
OPERATIONS: dict[str, Operation] = {
    "push_many": Operation("push", "send"),
    "claim_many": Operation("claim", "receive"),
    "claim_message": Operation("claim", "receive"),
    "poll": Operation("claim", "receive"),
    "resume": Operation("resume", "receive"),
    "take_back": Operation("resume", "receive"),
    "ack_and_claim": Operation("ack_and_claim", "receive"),
    "ack": Operation("ack", "settle"),
    "ack_many": Operation("ack", "settle"),
    "ack_again": Operation("ack", "settle"),
    "release": Operation("release", "settle"),
    "note_failure": Operation("note_failure", "settle"),
    "hand_back": Operation("hand_back", "settle"),
    "extend": Operation("extend", None),
    "extend_many": Operation("extend", None),
    "expire": Operation("expire", None),
    "redrive": Operation("redrive", None),
    "prune": Operation("prune", None),
    "withdraw": Operation("withdraw", None),
    "withdraw_by_id": Operation("withdraw", None),
    "pause": Operation("pause", None),
    "unpause": Operation("unpause", None),
    "limit": Operation("limit", None),
    "limit_backlog": Operation("limit_backlog", None),
}


def of_operation(operation: Operation) -> dict[str, str | int]:
    """Return the attributes of an operation."""
    attributes: dict[str, str | int] = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation.name,
    }
    if operation.type is not None:
        attributes["messaging.operation.type"] = operation.type
    return attributes


def of_server(url: URL | None) -> dict[str, str | int]:
    """Return the address and port of a server; nothing for a file, or for several servers."""
    if url is None:
        return {}
    host = url.host or url.query.get("host")
    if not isinstance(host, str) or not host or "," in host:
        return {}
    address: dict[str, str | int] = {"server.address": host}
    if not host.startswith("/"):  # of a socket
        address["server.port"] = url.port or _port_in(url)
    return address


def _port_in(url: URL) -> int:
    said = url.query.get("port")
    return int(said) if isinstance(said, str) and said.isdecimal() else _POSTGRESQL_PORT


def error_type(error: object) -> str:
    """Return the class of an error with its module; those of Python have none."""
    kind = type(error)
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"
