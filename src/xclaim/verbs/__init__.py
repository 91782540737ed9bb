"""What each verb does, as functions over an open connection: the only logic.

``Queue`` and ``AsyncQueue`` are facades over these. Nothing here commits: on a connection with a
transaction a verb joins it, on one in autocommit each statement is its own transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xclaim.verbs.claiming import LEASE, claim, claim_many, claim_message, poll, resume
from xclaim.verbs.execution import resolve_schema
from xclaim.verbs.hints import NOTIFY_EVERY
from xclaim.verbs.looking import counts, find, get, newest_available_at, peek
from xclaim.verbs.payload_rows import EncryptedRow, encrypted_otherwise, re_encrypt, stored_objects
from xclaim.verbs.pushing import check_push, listed, push, push_many
from xclaim.verbs.settling import (
    ack,
    ack_again,
    ack_many,
    extend,
    extend_many,
    release,
    unconsumed,
)
from xclaim.verbs.streaming import ack_and_claim
from xclaim.verbs.upkeep import expire, prune, redrive, withdraw

_Verbs = frozenset[Callable[..., Any]]
NOTIFYING: _Verbs = frozenset({push, push_many, release, redrive})  # make messages available
PUSHING: _Verbs = NOTIFYING - {release, redrive}
ACKING: _Verbs = frozenset({ack, ack_many, ack_again, ack_and_claim})
DELETING: _Verbs = frozenset({prune, withdraw})

__all__ = [
    "ACKING",
    "DELETING",
    "LEASE",
    "NOTIFYING",
    "NOTIFY_EVERY",
    "PUSHING",
    "EncryptedRow",
    "ack",
    "ack_again",
    "ack_and_claim",
    "ack_many",
    "check_push",
    "claim",
    "claim_many",
    "claim_message",
    "counts",
    "encrypted_otherwise",
    "expire",
    "extend",
    "extend_many",
    "find",
    "get",
    "listed",
    "newest_available_at",
    "peek",
    "poll",
    "prune",
    "push",
    "push_many",
    "re_encrypt",
    "redrive",
    "release",
    "resolve_schema",
    "resume",
    "stored_objects",
    "unconsumed",
    "withdraw",
]
