"""What each verb does, as functions over an open connection.

``Queue`` and ``AsyncQueue`` are facades over these. Nothing here commits: on a connection with a
transaction a verb joins it, on one in autocommit each statement is its own transaction. A name in
capitals is the verb as the runner takes it.
"""

from __future__ import annotations

from xclaim.verbs.claiming import CLAIM_MANY, CLAIM_MESSAGE, POLL, RESUME
from xclaim.verbs.execution import resolve_schema
from xclaim.verbs.hints import NOTIFY_EVERY
from xclaim.verbs.looking import COUNTS, FIND, GET, NEWEST_AVAILABLE_AT, PEEK
from xclaim.verbs.payload_rows import EncryptedRow, encrypted_otherwise, re_encrypt, stored_objects
from xclaim.verbs.pushing import PUSH_MANY, listed
from xclaim.verbs.settling import (
    ACK,
    ACK_AGAIN,
    ACK_MANY,
    EXTEND,
    EXTEND_MANY,
    HAND_BACK,
    RELEASE,
    UNCONSUMED,
)
from xclaim.verbs.streaming import ACK_AND_CLAIM
from xclaim.verbs.upkeep import EXPIRE, PRUNE, REDRIVE, WITHDRAW

__all__ = [
    "ACK",
    "ACK_AGAIN",
    "ACK_AND_CLAIM",
    "ACK_MANY",
    "CLAIM_MANY",
    "CLAIM_MESSAGE",
    "COUNTS",
    "EXPIRE",
    "EXTEND",
    "EXTEND_MANY",
    "FIND",
    "GET",
    "HAND_BACK",
    "NEWEST_AVAILABLE_AT",
    "NOTIFY_EVERY",
    "PEEK",
    "POLL",
    "PRUNE",
    "PUSH_MANY",
    "REDRIVE",
    "RELEASE",
    "RESUME",
    "UNCONSUMED",
    "WITHDRAW",
    "EncryptedRow",
    "encrypted_otherwise",
    "listed",
    "re_encrypt",
    "resolve_schema",
    "stored_objects",
]
