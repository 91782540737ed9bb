"""What each statement reads of an ordered queue: with a million keys, and a million in one line.

Not more than with a few: a few pages of its own, and some for each message that it returns or
settles, with all that passes their turns on. What counts all there is has no place here:
`EXEMPT` of `test_statements` says which statements do, and why.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from tests.databases import temporary_database
from tests.plans import MODES, explain
from tests.test_statements import BOUNDED, ENCODED, LISTED, OF_MAINTAINERS
from xclaim import create_engine
from xclaim.operations import ordering
from xclaim.operations.grants import Kind
from xclaim.operations.grants import plan as planned
from xclaim.sql import statements
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.schema import message_table
from xclaim.sql.statements import Letters

pytestmark = pytest.mark.slow

MILLION = 1_000_000
# A million keys. By the last figure: five of ten keys have a message that can be claimed, one of
# them tomorrow; two a claim that has lapsed; two are consumed, of which the first 2,000 still owe
# their turn; one is a dead letter.
KEYS = f"""
INSERT INTO xclaim_message (id, queue, origin_queue, status, payload, ordering_key, unique_key,
    attempts, created_at, available_at, claimed_at, claim_expires_at, claimed_by, claim_key,
    claim_token, consumed_at, consumed_by, keeps_turn, awaited_ids, due_at)
OVERRIDING SYSTEM VALUE
SELECT n, CASE kind WHEN 9 THEN 'keys.dead' ELSE 'keys' END, 'keys',
       CASE WHEN is_claimed THEN 'claimed' WHEN is_consumed THEN 'consumed' ELSE 'available' END,
       '{{"n": 1}}', 'key-' || n, CASE WHEN n % 100 = 0 THEN 'unique-' || n END,
       (kind > 4)::integer, now() - interval '2 days',
       now() + CASE kind WHEN 4 THEN interval '1 day' ELSE interval '-2 days' END,
       CASE WHEN is_claimed OR is_consumed THEN now() - interval '2 days' END,
       CASE WHEN is_claimed THEN now() - n * interval '1 millisecond' END,
       CASE WHEN is_claimed THEN 'worker ' || n END,
       CASE WHEN is_claimed OR kind = 9 THEN 'worker ' || n END,
       CASE WHEN is_claimed THEN lpad(to_hex(n), 32, '0')::uuid END,
       CASE WHEN is_consumed THEN now() - interval '1 day' END,
       CASE WHEN is_consumed THEN 'me' END,
       CASE WHEN owes THEN true END, CASE WHEN owes THEN ARRAY[n::bigint] END,
       CASE WHEN owes THEN now() - interval '1 minute' END
  FROM generate_series(1, {MILLION}) AS n
 CROSS JOIN LATERAL (
       SELECT n % 10 AS kind, n % 10 IN (5, 6) AS is_claimed, n % 10 IN (7, 8) AS is_consumed,
              n % 10 = 8 AND n <= 20000 AS owes) AS each
"""
# Behind those that are settled below one stands in line; beside some dead letters one has the turn.
FOLLOWERS = f"""
INSERT INTO xclaim_message (id, queue, origin_queue, payload, ordering_key, created_at,
    available_at, due_at)
OVERRIDING SYSTEM VALUE
SELECT {MILLION} + n, 'keys', 'keys', '{{"n": 1}}', 'key-' || n, now(),
       CASE WHEN n % 100 = 9 THEN now() END, CASE WHEN n % 100 <> 9 THEN now() END
  FROM generate_series(1, {MILLION}) AS n
 WHERE n % 10 = 5 OR n % 100 IN (0, 9) OR n % 10 = 8 AND n <= 20000
"""
# One key: a thousand that are consumed, a thousand dead letters, one whose claim has lapsed, and a
# million in line behind it.
FIRST = 2 * MILLION + 1
HEAD = FIRST + 2_000
LINE = f"""
INSERT INTO xclaim_message (id, queue, origin_queue, status, payload, ordering_key, unique_key,
    attempts, created_at, available_at, claimed_at, claim_expires_at, claimed_by, claim_key,
    claim_token, consumed_at, consumed_by, due_at)
OVERRIDING SYSTEM VALUE
SELECT {HEAD} + n, CASE WHEN is_dead THEN 'line.dead' ELSE 'line' END, 'line',
       CASE WHEN n = 0 THEN 'claimed' WHEN is_consumed THEN 'consumed' ELSE 'available' END,
       '{{"n": 1}}', 'customer', CASE WHEN n > 0 AND n % 100 = 0 THEN 'unique-' || n END,
       (n <= 0)::integer, now() - interval '2 days',
       CASE WHEN n <= 0 THEN now() - interval '2 days' END,
       CASE WHEN n = 0 OR is_consumed THEN now() - interval '2 days' END,
       CASE WHEN n = 0 THEN now() - interval '1 hour' END,
       CASE WHEN n = 0 THEN 'worker {HEAD}' END,
       CASE WHEN n = 0 OR is_dead THEN 'worker ' || {HEAD} + n END,
       CASE WHEN n = 0 THEN lpad(to_hex({HEAD}), 32, '0')::uuid END,
       CASE WHEN is_consumed THEN now() - interval '1 day' END,
       CASE WHEN is_consumed THEN 'me' END,
       CASE WHEN n > 0 THEN now() END
  FROM generate_series(-2000, {MILLION}) AS n
 CROSS JOIN LATERAL (
       SELECT n < -1000 AS is_consumed, n BETWEEN -1000 AND -1 AS is_dead) AS each
"""
# A limit that lets a hundred be claimed; a claim without regard to it would find nothing then.
LIMITED = """
INSERT INTO xclaim_queue (queue, rate, rate_seconds, burst) VALUES ('{queue}', 1000, 1, 1000);
INSERT INTO xclaim_slot (queue, kind, slot)
SELECT '{queue}', 'rate', slot FROM generate_series(0, 999) AS slot
"""
FREE_THE_HEAD = f"""
UPDATE xclaim_message SET status = 'available', attempts = 0, claimed_at = NULL, claimed_by = NULL,
       claim_key = NULL, claim_expires_at = NULL, claim_token = NULL
 WHERE id = {HEAD}
"""


def listed(*values: object) -> str:
    return "{" + ",".join(f'"{value}"' for value in values) + "}"


def token(id_: int) -> UUID:
    """Return the token of a claim, which the tables above have made in the same way."""
    return UUID(int=id_)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A queue, and of its messages those that a statement is given.

    ``claimed``: which can be settled. ``free``: which can be withdrawn. ``letters``: dead ones.
    ``keys``: behind whose messages others are pushed. ``before``: what is done first.
    """

    queue: str
    claimed: range
    free: range
    letters: range
    keys: tuple[str, ...]
    before: tuple[str, ...] = ()

    def parameters(self, name: str) -> dict[str, Any]:
        """Return what a statement is given."""
        claimed, letter = self.claimed[0], self.letters[0]
        common = {
            "queue_name": self.queue,
            "dead_letter_queue": f"{self.queue}.dead",
            "key": f"worker {claimed}",
            "handed_on_key": f"worker {self.claimed[-1]}",
            "handed_on_by": f"worker {self.claimed[-1]}",
            "message_id": claimed,
            "token": token(claimed),
            "ids": listed(*self.claimed),
            "tokens": listed(*map(token, self.claimed)),
            "unique_keys": listed(*[f"unique-{number}" for number in range(100, 10_001, 100)]),
            "ordering_keys": listed(*self.keys),
            "payloads": listed(*[1] * 100) if name in OF_A_LIST else f"[{','.join('1' * 100)}]",
            "holds_turn": None,
        }
        free = {"message_id": self.free[0], "ids": listed(*self.free)}
        of_letters = {"key": f"worker {letter}", "ids": listed(*self.letters)}
        acked = {"ack_count": 1 if "one" in name else len(self.claimed)}
        dies = {"is_limited": True, "most_attempts": 1}
        new = {"unique_keys": listed(*[f"new-{number}" for number in range(100)])}
        others: dict[str, dict[str, Any]] = {
            **dict.fromkeys(OF_THE_FREE, free),
            **dict.fromkeys(["spent", "redrive by ids"], of_letters),
            **dict.fromkeys([each for each in STATEMENTS if each.startswith("ack ")], acked),
            **dict.fromkeys([each for each in STATEMENTS if "push_once" in each], new),
            **dict.fromkeys(["release for good", "expire for good"], dies),
            "expire_others": {"key": "nobody"},
            "push of new lines": {"ordering_keys": listed(*[f"new-{n}" for n in range(100)])},
            "redrive elsewhere": {"queue_name": "elsewhere"},
        }
        return {**common, **LISTED.get(name, {}), **ENCODED, **others.get(name, {})}


# What only an ordered queue is sent, or what is another thing there.
WHOLE: Mapping[str, Any] = {"limit": 100, "whole_lines": True}
ORDERED: dict[str, tuple[Any, Mapping[str, Any]]] = {
    "claim whole lines": (statements.claim, WHOLE),
    "claim whole lines within limits": (statements.claim_within, WHOLE),
    "candidates of whole lines": (statements.candidates, WHOLE),
    "ack and claim whole lines": (statements.ack_and_claim, WHOLE),
    "push in line": (statements.push, {"ordered": True}),
    "push of new lines": (statements.push, {"ordered": True}),
    "push_once in line": (statements.push_once, {"ordered": True}),
    "backlog with lines": (statements.backlog, {"in_line": True}),
    "release for good": (
        statements.release,
        {"delayed": False, "counted": True, "with_error": True},
    ),
    "expire for good": (statements.expire, {}),
    "redrive by ids": (statements.redrive, {"which": Letters(by_id=True)}),
    "redrive elsewhere": (statements.redrive, {}),
    "pass_owed": (statements.pass_owed, {}),
}
STATEMENTS: dict[str, tuple[Any, Mapping[str, Any]]] = {
    **{name: (build, options) for name, (build, options, _) in BOUNDED.items()},
    **ORDERED,
}
OF_A_LIST = {name for name in STATEMENTS if "push_once" in name or " line" in name}
OF_A_LIST |= {"clashing_keys"}
OF_THE_FREE = {"claim_one", "claim one within limits", "set_aside", "re_encrypt", "withdraw_by_id"}
OF_THE_FREE |= {"withdraw_by_id_as_maintainer"}

# How many rows each returns: of the million keys, of the long line, and of that line while nobody
# has claimed its first message. None: it is not run there, being what it is in the second.
RETURNED: dict[str, tuple[int, int, int | None]] = {
    "backlog": (1, 1, None),
    "backlog with lines": (1, 1, None),
    "claim": (1, 0, 1),
    "claim 100": (100, 0, 1),
    "claim behind": (1, 0, 1),
    "claim 100 behind": (100, 0, 0),
    "claim lately": (1, 0, 1),
    "claim on top": (1, 0, 1),
    "claim again": (1, 1, None),
    "claim_one": (1, 0, 1),
    "claim within limits": (100, 0, 1),
    "claim one within limits": (1, 0, 1),
    "claim whole lines": (100, 0, 100),
    "claim whole lines within limits": (100, 0, 100),
    "take_back": (1, 1, None),
    "resume": (2, 1, None),
    "candidates": (1, 0, 1),
    "candidates again": (1, 1, None),
    "candidates of whole lines": (100, 0, 100),
    "handed_on": (2, 1, None),
    "set_aside": (100, 100, 100),
    "described": (100, 1, None),
    "ack and claim": (100, 1, None),
    "ack and claim whole lines": (100, 1, None),
    "ack one and claim behind": (1, 1, None),
    "ack": (1, 1, None),
    "ack_many": (100, 1, None),
    "ack_reduced": (100, 1, None),
    "hand_back": (100, 1, None),
    "hand_back and wake": (100, 1, None),
    "extend": (1, 1, None),
    "extend_many": (100, 1, None),
    "release": (1, 1, None),
    "release after an error": (1, 1, None),
    "release for good": (1, 1, None),
    "note_failure": (1, 1, None),
    "expire": (100, 1, None),
    "expire for good": (100, 1, None),
    "any_lapsed": (1, 1, None),
    "expire_others": (100, 1, None),
    "redrive": (100, 100, 100),
    "redrive by ids": (100, 100, 100),
    "redrive elsewhere": (100, 100, 100),
    "prune": (100, 100, None),
    "prune with objects": (100, 100, None),
    "re_encrypt": (1, 1, None),
    "peek": (100, 0, 1),
    "newest": (1, 1, None),
    "get": (1, 1, None),
    "failures": (1, 1, None),
    "spent": (1, 1, None),
    "get_many": (100, 1, None),
    "receipt": (1, 1, None),
    "withdraw_by_id": (100, 100, 100),
    "prune_as_maintainer": (100, 100, None),
    "withdraw_as_maintainer": (100, 100, None),
    "withdraw_by_id_as_maintainer": (100, 100, 100),
    "find": (100, 100, None),
    "withdraw": (100, 100, None),
    "push": (1, 1, None),
    "push, encoded": (1, 1, None),
    "push in line": (1, 1, 1),
    "push of new lines": (1, 1, None),
    "push_once": (100, 100, None),
    "push_once, whole": (100, 100, None),
    "push_once, by id": (100, 100, None),
    "push_once in line": (100, 100, 100),
    "clashing_keys": (100, 100, None),
    "pass_owed": (1, 1, None),
}
# What is done for more messages than rows are returned.
WORK = {"backlog": 201, "backlog with lines": 202, "pass_owed": 100}
WORK |= dict.fromkeys([name for name in STATEMENTS if name.startswith("push")], 100)
CLAIM_PAGES = 40  # of a claim of one, and of one that finds nothing
# Of each message its row, the entries of up to seven indexes, and who has the turn next.
PAGES, PAGES_OF_EACH = 60, 90
SCENES = {
    "a million keys": Scene(
        queue="keys",
        claimed=range(5, 1_000, 10),
        free=range(100, 10_001, 100),
        letters=range(9, 1_000, 10),
        keys=tuple(f"key-{number}" for number in range(5, 1_000, 10)),
    ),
    "a million in line": Scene(
        queue="line",
        claimed=range(HEAD, HEAD + 1),
        free=range(HEAD + 1, HEAD + 101),
        letters=range(FIRST + 1_000, FIRST + 1_100),
        keys=("customer",) * 100,
    ),
    "a million behind one that is free": Scene(
        queue="line",
        claimed=range(HEAD, HEAD + 1),
        free=range(HEAD, HEAD + 100),
        letters=range(FIRST + 1_000, FIRST + 1_100),
        keys=("customer",) * 100,
        before=(FREE_THE_HEAD,),
    ),
}
CASES = [
    (scene, name, number)
    for name, numbers in RETURNED.items()
    for scene, number in zip(SCENES, numbers, strict=True)
    if number is not None
]


@pytest.fixture(scope="module")
def million(postgresql_server: str, _template_url: str) -> Iterator[Engine]:
    with temporary_database(postgresql_server, template=_template_url) as url:
        engine = create_engine(url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for fill in (KEYS, FOLLOWERS, LINE):
                connection.exec_driver_sql(fill.replace("%", "%%"))
            connection.exec_driver_sql(
                "SELECT setval(pg_get_serial_sequence('xclaim_message', 'id'), max(id))"
                " FROM xclaim_message"
            )
            # Only now: an index that is there while rows are written takes longer than one of them.
            ordering.enable(engine)
            connection.exec_driver_sql("VACUUM ANALYZE xclaim_message")
        yield engine
        engine.dispose()


@pytest.fixture(scope="module")
def maintainer(million: Engine) -> Iterator[str]:
    role = f"xclaim_test_maintainer_{secrets.token_hex(4)}"
    with million.begin() as connection:
        planned(connection, Kind.MAINTAINER, role).apply(connection)
    yield role
    with million.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("scene", "name", "returned"), CASES)
def test_a_statement_reads_no_more_of_a_million(
    million: Engine, maintainer: str, scene: str, name: str, returned: int, mode: str
) -> None:
    build, options = STATEMENTS[name]
    there = SCENES[scene]
    limits = [LIMITED.format(queue=there.queue)] if "within limits" in name else []
    most = PAGES + PAGES_OF_EACH * WORK.get(name, returned)
    if build is statements.claim and returned < 2 and not options.get("resumes"):
        most = CLAIM_PAGES

    plan = explain(
        million,
        build(message_table(), POSTGRESQL, **options),
        mode,
        role=maintainer if name in OF_MAINTAINERS else None,
        before=[*there.before, *limits],
        **there.parameters(name),
    )

    assert plan.returned == returned, plan.text
    assert plan.scans == 0, plan.text
    assert plan.pages <= most, plan.text


def test_every_statement_is_carried_out() -> None:
    assert set(RETURNED) == set(STATEMENTS)
