"""What each verb does, as functions over an open connection.

``Queue`` and ``AsyncQueue`` are facades over these. Nothing here commits: on a connection with a
transaction a verb joins it, on one in autocommit each statement is its own transaction. A name in
capitals is the verb as the runner takes it.
"""

from __future__ import annotations

from xclaim.verbs.backlog import BACKLOG, HAS_ROOM, LIMIT_BACKLOG
from xclaim.verbs.claiming import CLAIM_MANY, CLAIM_MESSAGE, DRAIN, POLL, RESUME, TAKE_BACK
from xclaim.verbs.execution import resolve_schema, schema_on
from xclaim.verbs.hints import LOOK_BACK_EVERY, NOTIFY_EVERY, due_in
from xclaim.verbs.limiting import LIMIT, LIMITS, VACANCY
from xclaim.verbs.looking import (
    CLOCK,
    COUNTS,
    FAILING,
    FAILURES,
    FIND,
    GET,
    NEWEST_AVAILABLE_AT,
    PEEK,
    SPENT,
    UPCOMING,
    is_known,
)
from xclaim.verbs.pausing import PAUSE, PAUSED, UNPAUSE
from xclaim.verbs.payload_rows import (
    EncryptedRow,
    encrypted_otherwise,
    re_encrypt,
    stored_objects,
    unencrypted,
)
from xclaim.verbs.pushing import PUSH_MANY, listed
from xclaim.verbs.redriving import COUNT_REDRIVABLE, REDRIVE, REFUSE_OTHERS
from xclaim.verbs.seeing import (
    hides_rows,
    of_what_is_seen,
    refuse_hidden_queue,
    refuse_hidden_rows,
)
from xclaim.verbs.settling import (
    ACK,
    ACK_AGAIN,
    ACK_MANY,
    EXTEND,
    EXTEND_MANY,
    HAND_BACK,
    NOTE_FAILURE,
    RELEASE,
    UNCONSUMED,
    is_for_good,
)
from xclaim.verbs.streaming import ACK_AND_CLAIM
from xclaim.verbs.upkeep import COUNT_PRUNABLE, EXPIRE, PRUNE, WITHDRAW, WITHDRAW_BY_ID

__all__ = [
    "ACK",
    "ACK_AGAIN",
    "ACK_AND_CLAIM",
    "ACK_MANY",
    "BACKLOG",
    "CLAIM_MANY",
    "CLAIM_MESSAGE",
    "CLOCK",
    "COUNTS",
    "COUNT_PRUNABLE",
    "COUNT_REDRIVABLE",
    "DRAIN",
    "EXPIRE",
    "EXTEND",
    "EXTEND_MANY",
    "FAILING",
    "FAILURES",
    "FIND",
    "GET",
    "HAND_BACK",
    "HAS_ROOM",
    "LIMIT",
    "LIMITS",
    "LIMIT_BACKLOG",
    "LOOK_BACK_EVERY",
    "NEWEST_AVAILABLE_AT",
    "NOTE_FAILURE",
    "NOTIFY_EVERY",
    "PAUSE",
    "PAUSED",
    "PEEK",
    "POLL",
    "PRUNE",
    "PUSH_MANY",
    "REDRIVE",
    "REFUSE_OTHERS",
    "RELEASE",
    "RESUME",
    "SPENT",
    "TAKE_BACK",
    "UNCONSUMED",
    "UNPAUSE",
    "UPCOMING",
    "VACANCY",
    "WITHDRAW",
    "WITHDRAW_BY_ID",
    "EncryptedRow",
    "due_in",
    "encrypted_otherwise",
    "hides_rows",
    "is_for_good",
    "is_known",
    "listed",
    "of_what_is_seen",
    "re_encrypt",
    "refuse_hidden_queue",
    "refuse_hidden_rows",
    "resolve_schema",
    "schema_on",
    "stored_objects",
    "unencrypted",
]
