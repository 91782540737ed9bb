"""Objects of payloads: which of them a message has, and those to be encrypted anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from xclaim.message import Status
from xclaim.payloads.plain_json import encode
from xclaim.sql import statements
from xclaim.sql.dialects import dialect_of
from xclaim.verbs.execution import execute

_BATCH = 100  # payloads of at most a threshold each, and references


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedRow:
    """A row whose payload is encrypted with a key that is not the first any more."""

    id: int
    status: Status
    queue: str
    codec: str
    stored: Any


def stored_objects(
    connection: Connection, uris: Sequence[str], *, schema: str | None = None
) -> set[str]:
    """Return which of the objects belong to a message."""
    parameters = dialect_of(connection.dialect.name).row_parameters(uri=list(uris))
    rows = execute(connection, schema, statements.stored_objects, parameters)
    return {row.uri for row in rows}


def encrypted_otherwise(
    connection: Connection, key_id: str, after: int, *, schema: str | None = None
) -> list[EncryptedRow]:
    """Return some messages behind an id whose payload is encrypted with another key."""
    parameters = {"key_id": key_id, "message_id": after, "message_limit": _BATCH}
    return [
        EncryptedRow(
            id=row.id,
            status=Status(row.status),
            queue=row.origin_queue,
            codec=row.codec,
            stored=row.payload,
        )
        for row in execute(connection, schema, statements.encrypted, parameters)
    ]


def re_encrypt(
    connection: Connection, row: EncryptedRow, payload: str, *, schema: str | None = None
) -> bool:
    """Replace an encrypted payload; return False if it was claimed or changed meanwhile."""
    parameters = {
        "message_id": row.id,
        "payload_before": encode(row.stored).text,
        "payload_after": payload,
    }
    return bool(execute(connection, schema, statements.re_encrypt, parameters))
