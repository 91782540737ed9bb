"""Objects of payloads: which of them a message has, and those to be encrypted anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from xclaim.errors import PayloadCorruptedError
from xclaim.message import Status, Unsent
from xclaim.payloads.plain_json import decode_strictly
from xclaim.payloads.stores.references import OwnObject
from xclaim.sql import statements
from xclaim.sql.dialects import dialect_of, text_of
from xclaim.verbs.execution import execute
from xclaim.verbs.unsendable import look

_BATCH = 100  # payloads of at most a threshold each, and references


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedRow:
    """A row whose payload is encrypted with a key that is not the first any more.

    ``text`` is what the row has of it, as JSON.
    """

    id: int
    status: Status
    queue: str
    unique_key: str | None
    codec: str
    text: str

    @property
    def stored(self) -> Any:
        """What the row has of the payload. Raise PayloadCorruptedError if it cannot be read."""
        if isinstance(self.text, Unsent):
            raise PayloadCorruptedError(
                f"the payload of message {self.id} cannot be read ({self.text})"
            )
        try:
            return decode_strictly(self.text)
        except (ValueError, RecursionError) as error:
            raise PayloadCorruptedError(
                f"the payload of message {self.id} cannot be read ({str(error)[:200]})"
            ) from error


def stored_objects(
    connection: Connection, uris: Sequence[str], *, schema: str | None = None
) -> set[OwnObject]:
    """Return which of the objects are named by a message, and which queue it was pushed to."""
    parameters = dialect_of(connection.dialect.name).row_parameters(uri=list(uris))
    rows = execute(connection, schema, statements.stored_objects, parameters)
    return {OwnObject(row.uri, row.origin_queue) for row in rows}


def encrypted_otherwise(
    connection: Connection, key_id: str, first: int, *, schema: str | None = None
) -> list[EncryptedRow]:
    """Return some messages from an id on whose payload is encrypted with another key."""
    parameters = {"key_id": key_id, "message_id": first, "message_limit": _BATCH}
    return [
        EncryptedRow(
            id=row.id,
            status=row.status,
            queue=row.origin_queue,
            unique_key=row.unique_key,
            codec=row.codec,
            text=text_of(row.payload),
        )
        for row in look(connection, schema, statements.encrypted, parameters)
    ]


def unencrypted(connection: Connection, *, schema: str | None = None) -> dict[str, int]:
    """Return how many messages of each queue are not encrypted, but for consumed ones."""
    rows = execute(connection, schema, statements.unencrypted, {})
    return {text_of(row.origin_queue): row.messages for row in rows}


def re_encrypt(
    connection: Connection, row: EncryptedRow, payload: str, *, schema: str | None = None
) -> bool:
    """Replace an encrypted payload; return False if it was claimed or changed meanwhile."""
    parameters = {
        "message_id": row.id,
        "payload_before": row.text,
        "payload_after": payload,
    }
    return bool(execute(connection, schema, statements.re_encrypt, parameters))
