"""Every SQL statement of the verbs: pure functions of the table and the dialect.

One statement, one promise. They are built once and cached; what each database receives stands in
docs/sql. Statuses are literals: a generic plan cannot use a partial index for ``status = $1``.
"""

from __future__ import annotations

from xclaim.sql.statements.claiming import (
    ClaimedRow,
    Start,
    ack_and_claim,
    claim,
    claim_one,
    resume,
)
from xclaim.sql.statements.letters import Letters
from xclaim.sql.statements.looking import (
    counts,
    dead_letters,
    failing_messages,
    failing_queues,
    failures,
    find,
    get,
    get_many,
    holders,
    is_known,
    newest,
    peek,
    queue_stats,
    reads_errors,
    receipt,
    spent,
    stuck_claims,
)
from xclaim.sql.statements.parts import Statement
from xclaim.sql.statements.pushing import clashing_keys, push, push_once
from xclaim.sql.statements.settling import (
    ack,
    ack_many,
    ack_reduced,
    extend,
    extend_many,
    hand_back,
    note_failure,
    release,
)
from xclaim.sql.statements.upkeep import (
    encrypted,
    expire,
    expire_others,
    letters,
    prunable,
    prune,
    re_encrypt,
    redrivable,
    redrive,
    stored_objects,
    withdraw,
    withdraw_by_id,
)

__all__ = [
    "ClaimedRow",
    "Letters",
    "Start",
    "Statement",
    "ack",
    "ack_and_claim",
    "ack_many",
    "ack_reduced",
    "claim",
    "claim_one",
    "clashing_keys",
    "counts",
    "dead_letters",
    "encrypted",
    "expire",
    "expire_others",
    "extend",
    "extend_many",
    "failing_messages",
    "failing_queues",
    "failures",
    "find",
    "get",
    "get_many",
    "hand_back",
    "holders",
    "is_known",
    "letters",
    "newest",
    "note_failure",
    "peek",
    "prunable",
    "prune",
    "push",
    "push_once",
    "queue_stats",
    "re_encrypt",
    "reads_errors",
    "receipt",
    "redrivable",
    "redrive",
    "release",
    "resume",
    "spent",
    "stored_objects",
    "stuck_claims",
    "withdraw",
    "withdraw_by_id",
]
