"""Encrypt anew what was encrypted with a key that is not the first any more."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Engine

from xclaim import verbs
from xclaim.arguments import HIGHEST_ID, LOWEST_ID
from xclaim.connections.payload_work import delete_objects
from xclaim.errors import InvalidArgumentError, XclaimError
from xclaim.message import Status
from xclaim.payloads.envelope import Prepared, own_object
from xclaim.payloads.payloads import Payloads
from xclaim.verbs import EncryptedRow

_MOST_NAMED = 10


@dataclass(slots=True, kw_only=True)
class Rotation:
    """What was done. ``claimed`` messages are left to be rotated later, ``failed`` ones stay too.

    ``errors`` are the first failures, each with the id of its message. ``unencrypted`` is how many
    messages of each queue have a payload that is not encrypted, and are not consumed: it stays so.
    """

    rotated: int = 0
    claimed: int = 0
    failed: int = 0
    errors: dict[int, str] = field(default_factory=dict)
    unencrypted: dict[str, int] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether no payload needs an old key any more."""
        return not self.claimed and not self.failed


def rotate_keys(
    engine: Engine, payloads: Payloads | None = None, *, schema: str | None = None
) -> Rotation:
    """Encrypt with the first key all payloads that are encrypted with another; say what was done.

    In rows and in the storage, consumed messages too, one at a time; it may be stopped and run
    again. Whoever has claimed a message reads its payload where it was, so claimed messages are
    left: run it again when they are settled, and drop the old key when ``is_complete``.
    ``payloads``: by default as the environment says. Raise InvalidArgumentError without keys;
    HiddenRowsError if row-level security hides messages, which may need an old key, from the role.
    """
    schema = verbs.schema_on(engine, schema)
    settings = payloads or Payloads.by_default()
    if settings.keys is None:
        raise InvalidArgumentError(
            "no keys to rotate to: set XCLAIM_FERNET_KEYS, the new key first, then the old ones"
        )
    done, first = Rotation(), LOWEST_ID
    options = {"isolation_level": "AUTOCOMMIT"}
    while first <= HIGHEST_ID:
        with engine.connect().execution_options(**options) as connection:
            rows = verbs.encrypted_otherwise(
                connection, settings.keys.primary_id, first, schema=schema
            )
            verbs.refuse_hidden_rows(connection, schema, "a rotation of keys")
        if not rows:
            break
        for row in rows:
            _rotate(engine, settings, row, done, schema)
        first = rows[-1].id + 1
    with engine.connect().execution_options(**options) as connection:
        done.unencrypted = verbs.unencrypted(connection, schema=schema)
    return done


def _rotate(
    engine: Engine, settings: Payloads, row: EncryptedRow, done: Rotation, schema: str | None
) -> None:
    if row.status == Status.CLAIMED:
        done.claimed += 1
        return
    try:
        again = _encrypted_again(settings, row)
    except XclaimError as error:
        done.failed += 1
        if len(done.errors) < _MOST_NAMED:
            done.errors[row.id] = str(error)
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        is_replaced = verbs.re_encrypt(connection, row, again.text, schema=schema)
    if is_replaced:
        done.rotated += 1
        delete_objects(settings, [own_object(row.stored, row.codec, row.queue)])
    else:  # claimed or settled meanwhile
        done.claimed += 1
        settings.discard([again])


def _encrypted_again(settings: Payloads, row: EncryptedRow) -> Prepared:
    return settings.encrypt_again(row.stored, row.codec, queue=row.queue, unique_key=row.unique_key)
