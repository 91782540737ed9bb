"""What each verb does, as functions over an open connection: the only logic.

``Queue`` and ``AsyncQueue`` are facades over these. Nothing here commits: on a connection with a
transaction a verb joins it, on one in autocommit each statement is its own transaction.
"""

from __future__ import annotations

from xclaim.verbs.claiming import LEASE, claim, claim_many, poll, resume
from xclaim.verbs.looking import counts, find, get, newest_available_at, peek
from xclaim.verbs.memory import NOTIFY_EVERY
from xclaim.verbs.pushing import push, push_many
from xclaim.verbs.rows import resolve_schema
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

NOTIFYING = frozenset({push, push_many, release, redrive})  # make messages available at once

__all__ = [
    "LEASE",
    "NOTIFYING",
    "NOTIFY_EVERY",
    "ack",
    "ack_again",
    "ack_and_claim",
    "ack_many",
    "claim",
    "claim_many",
    "counts",
    "expire",
    "extend",
    "extend_many",
    "find",
    "get",
    "newest_available_at",
    "peek",
    "poll",
    "prune",
    "push",
    "push_many",
    "redrive",
    "release",
    "resolve_schema",
    "resume",
    "unconsumed",
    "withdraw",
]
