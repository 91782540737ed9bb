"""The SQL: as documented, and planned as intended."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests import sql_docs
from tests.databases import temporary_database
from tests.plans import MODES, PARAMETERS, explain
from xclaim import Queue, create_engine
from xclaim.operations.grants import Kind
from xclaim.operations.grants import plan as planned
from xclaim.sql import full_names, statements
from xclaim.sql.dialects import POSTGRESQL, SQLITE
from xclaim.sql.schema import TURN_NAME, message_table

CLAIMABLE = (
    "INDEX ix_xclaim_message_claim (queue=? AND priority=? AND available_at>? AND available_at<?)"
)
# Of statements that take a list where others take JSON, or which take more than ids and tokens.
LISTED = {
    "push, encoded": {"payloads": "{" + ",".join("1" for _ in range(100)) + "}"},
    "ack_reduced": {"payloads": "{" + ",".join("1" for _ in range(100)) + "}"},
}
ENCODED = {"codecs": "{" + ",".join(["json-types"] * 100) + "}"}
KEYED = {
    "payloads": "{" + ",".join("1" for _ in range(100)) + "}",
    "unique_keys": "{" + ",".join(f"key-{number}" for number in range(100)) + "}",
}
A_MILLION = """
INSERT INTO xclaim_message (queue, origin_queue, status, priority, payload, unique_key, attempts,
       created_at, available_at, claimed_at, claim_expires_at, claimed_by, claim_key, claim_token,
       consumed_at, consumed_by)
SELECT CASE WHEN n % 100 = 91 THEN 'load.dead' ELSE 'load' END, 'load', status,
       CASE WHEN delay > interval '0' THEN 5 ELSE n % 3 END, '{"n": 1}', 'key-' || n, 1,
       now(), now() + delay, claimed_at, CASE status WHEN 'claimed' THEN claimed_at END,
       claimed_by, claimed_by, token, consumed_at,
       consumed_by
  FROM generate_series(1, 1000000) AS n
 CROSS JOIN LATERAL (
       SELECT 'available' AS status, interval '0' AS delay, NULL::timestamptz AS claimed_at,
              NULL AS claimed_by, NULL::uuid AS token, NULL::timestamptz AS consumed_at,
              NULL AS consumed_by
        WHERE n % 10 < 3
       UNION ALL SELECT 'available', interval '1 day', NULL, NULL, NULL, NULL, NULL
        WHERE n % 10 IN (3, 4)
       UNION ALL SELECT 'claimed', interval '0', now() - n * interval '1 second', 'worker ' || n,
              gen_random_uuid(), NULL, NULL
        WHERE n % 10 = 5
       UNION ALL SELECT 'consumed', interval '0', now(), NULL, NULL, now() - interval '1 day', 'me'
        WHERE n % 10 > 5) AS kind
"""


@pytest.mark.parametrize("path", sql_docs.documents(), ids=lambda path: path.name)
def test_docs_sql_shows_what_is_sent(path: Any) -> None:
    written = " ".join(path.read_text().split())
    sent = " ".join(sql_docs.documents()[path].split())

    assert written == sent, "run `python -m tests.sql_docs`"


@pytest.fixture(scope="module")
def loaded(postgresql_server: str, _template_url: str) -> Iterator[Engine]:
    """A million rows: 300,000 available, 200,000 delayed ones of a higher priority, 100,000
    claimed and overdue, 400,000 consumed; one in a hundred in the dead-letter queue.
    """
    with temporary_database(postgresql_server, template=_template_url) as url:
        engine = create_engine(url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(A_MILLION.replace("%", "%%"))
            connection.exec_driver_sql("VACUUM ANALYZE xclaim_message")
        yield engine
        engine.dispose()


TOP, POSITION, LATELY = statements.Start.TOP, statements.Start.POSITION, statements.Start.LATELY
BOUNDED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "backlog": (statements.backlog, {}, "ix_xclaim_message_claim"),
    "claim": (statements.claim, {}, "ix_xclaim_message_claim"),
    "claim 100": (statements.claim, {"limit": 100}, "ix_xclaim_message_claim"),
    "claim behind": (statements.claim, {"start": POSITION}, "ix_xclaim_message_claim"),
    "claim 100 behind": (
        statements.claim,
        {"start": POSITION, "limit": 100},
        "ix_xclaim_message_claim",
    ),
    "claim lately": (statements.claim, {"start": LATELY}, "ix_xclaim_message_claim"),
    "claim on top": (statements.claim, {"start": TOP}, "ix_xclaim_message_claim"),
    "claim again": (statements.claim, {"resumes": True}, "ix_xclaim_message_claim_key"),
    "claim_one": (statements.claim_one, {}, "xclaim_message_pkey"),
    "claim within limits": (statements.claim_within, {"limit": 100}, "ix_xclaim_message_claim"),
    "claim one within limits": (statements.claim_within, {"one": True}, "xclaim_message_pkey"),
    "take_back": (statements.take_back, {}, "ix_xclaim_message_claim_key"),
    "resume": (statements.resume, {}, "ix_xclaim_message_claim_key"),
    "candidates": (statements.candidates, {}, "ix_xclaim_message_claim"),
    "candidates again": (statements.candidates, {"resumes": True}, "ix_xclaim_message_claim_key"),
    "handed_on": (statements.handed_on, {}, "ix_xclaim_message_claim_key"),
    "set_aside": (statements.set_aside, {}, "xclaim_message_pkey"),
    "described": (statements.described, {}, "xclaim_message_pkey"),
    "ack and claim": (statements.ack_and_claim, {"limit": 100}, "xclaim_message_pkey"),
    "ack one and claim behind": (
        statements.ack_and_claim,
        {"start": POSITION, "acks_one": True},
        "xclaim_message_pkey",
    ),
    "ack": (statements.ack, {}, "xclaim_message_pkey"),
    "ack_many": (statements.ack_many, {}, "xclaim_message_pkey"),
    "ack_reduced": (statements.ack_reduced, {}, "xclaim_message_pkey"),
    "hand_back": (statements.hand_back, {}, "xclaim_message_pkey"),
    "hand_back and wake": (statements.hand_back, {"notifies": True}, "xclaim_message_pkey"),
    "extend": (statements.extend, {}, "xclaim_message_pkey"),
    "extend_many": (statements.extend_many, {}, "xclaim_message_pkey"),
    "release": (
        statements.release,
        {"delayed": False, "counted": True, "with_error": False},
        "xclaim_message_pkey",
    ),
    "release after an error": (
        statements.release,
        {"delayed": False, "counted": True, "with_error": True},
        "xclaim_message_pkey",
    ),
    "note_failure": (statements.note_failure, {}, "xclaim_message_pkey"),
    "expire": (statements.expire, {}, "ix_xclaim_message_expiry"),
    "any_lapsed": (statements.any_lapsed, {}, "ix_xclaim_message_expiry"),
    "expire_others": (statements.expire_others, {}, "ix_xclaim_message_expiry"),
    "redrive": (statements.redrive, {}, "ix_xclaim_message_claim"),
    "prune": (statements.prune, {}, "ix_xclaim_message_consumed"),
    "prune with objects": (statements.prune, {"objects": True}, "ix_xclaim_message_consumed"),
    "re_encrypt": (statements.re_encrypt, {}, "xclaim_message_pkey"),
    "peek": (statements.peek, {}, "ix_xclaim_message_claim"),
    "newest": (statements.newest, {}, "ix_xclaim_message_claim"),
    "get": (statements.get, {}, "xclaim_message_pkey"),
    "failures": (statements.failures, {}, "xclaim_message_pkey"),
    "spent": (statements.spent, {}, "ix_xclaim_message_claim_key"),
    "get_many": (statements.get_many, {}, "xclaim_message_pkey"),
    "receipt": (statements.receipt, {}, "xclaim_message_pkey"),
    "withdraw_by_id": (statements.withdraw_by_id, {}, "xclaim_message_pkey"),
    "prune_as_maintainer": (statements.prune_as_maintainer, {}, "ix_xclaim_message_consumed"),
    "withdraw_as_maintainer": (
        statements.withdraw_as_maintainer,
        {},
        "uq_xclaim_message_unique_key",
    ),
    "withdraw_by_id_as_maintainer": (
        statements.withdraw_by_id_as_maintainer,
        {},
        "xclaim_message_pkey",
    ),
    "find": (statements.find, {}, "uq_xclaim_message_unique_key"),
    "withdraw": (statements.withdraw, {}, "uq_xclaim_message_unique_key"),
    "push": (statements.push, {}, ""),
    "push, encoded": (statements.push, {"encoded": True}, ""),
    "push_once": (statements.push_once, {}, "uq_xclaim_message_unique_key"),
    "push_once, whole": (statements.push_once, {"whole": True}, "uq_xclaim_message_unique_key"),
    "push_once, by id": (statements.push_once, {"by_id": True}, "uq_xclaim_message_unique_key"),
    "clashing_keys": (statements.clashing_keys, {}, "uq_xclaim_message_unique_key"),
}
# Refused to who has the rights of the owner; what they read is told below, of each kind of role.
OF_MAINTAINERS = {name for name in BOUNDED if name.endswith("_as_maintainer")}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [name for name in BOUNDED if name not in OF_MAINTAINERS])
def test_a_statement_reads_what_it_returns_and_little_more(
    loaded: Engine, name: str, mode: str
) -> None:
    build, options, index = BOUNDED[name]
    keyed = KEYED if name in KEYED_STATEMENTS else {}
    listed = {**keyed, **LISTED.get(name, {}), **ENCODED}
    statement = build(message_table(), POSTGRESQL, **options)

    plan = explain(loaded, statement, mode, **listed)

    assert index in plan.text, plan.text
    assert "Seq Scan" not in plan.text, plan.text
    assert "JIT" not in plan.text
    assert plan.rows <= 400, plan.text  # 100 at most are asked for, of three priorities
    assert plan.buffers <= 4_000, plan.text


def test_the_first_of_many_lapsed_claims_are_found_before_the_table_is_analyzed(
    fresh_postgresql_url: str,
) -> None:
    engine = create_engine(fresh_postgresql_url)
    queue = Queue("load", engine)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        queue.push_many([0] * 5_000)
        connection.exec_driver_sql("VACUUM ANALYZE xclaim_message")
        for _ in range(50):
            queue.claim_many(100)
        connection.exec_driver_sql(
            "UPDATE xclaim_message SET claim_expires_at = claimed_at WHERE status = 'claimed'"
        )

    statement = statements.expire(message_table(), POSTGRESQL)
    plan = explain(engine, statement, "force_custom_plan")

    engine.dispose()
    assert plan.rows <= 400, plan.text


def test_ends_of_leases_that_are_no_claims_are_passed_over(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        Queue("load", engine).push_many([0] * 5_000)
        connection.exec_driver_sql(
            "UPDATE xclaim_message SET claim_expires_at = created_at - id * interval '1 s'"
        )
        connection.exec_driver_sql("VACUUM ANALYZE xclaim_message")

    statement = statements.expire(message_table(), POSTGRESQL)
    plan = explain(engine, statement, "force_custom_plan")

    engine.dispose()
    assert plan.rows <= 6_000, plan.text  # a descent for each would be 5,000 times as many
    assert plan.buffers <= 7_000, plan.text


# They read or change payloads, which takes more rights than a consumer or maintainer is granted, or
# delete by themselves.
OF_THE_OWNER = {"ack_reduced", "prune with objects", "re_encrypt"}
OF_THE_OWNER |= {"prune", "withdraw", "withdraw_by_id"}
KEYED_STATEMENTS = {"push_once, by id", "push_once", "push_once, whole", "clashing_keys"}
KEYED_STATEMENTS |= {"find", "withdraw", "withdraw_as_maintainer"}
PUSHING = ["push", "push, encoded", "push_once", "push_once, whole", "push_once, by id"]
PUSHING += ["clashing_keys"]
KINDS = {
    **dict.fromkeys(PUSHING, Kind.PRODUCER),
    "redrive": Kind.MAINTAINER,
    **dict.fromkeys(OF_MAINTAINERS, Kind.MAINTAINER),
}


@pytest.fixture(scope="module", params=[0, 30], ids=["one queue", "31 queues"])
def limited(request: pytest.FixtureRequest, loaded: Engine) -> Iterator[dict[Kind, str]]:
    """A role of each kind that is limited to some queues, `load` among them."""
    queues = ["load", *[f"other {number}" for number in range(request.param)]]
    roles = {kind: f"xclaim_test_{kind}_{secrets.token_hex(4)}" for kind in Kind}
    with loaded.begin() as connection:
        for kind, role in roles.items():
            planned(connection, kind, role, queues=queues).apply(connection)
    yield roles
    with loaded.begin() as connection:
        for role in roles.values():
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [name for name in BOUNDED if name not in OF_THE_OWNER])
def test_row_level_security_costs_no_statement_its_index(
    loaded: Engine, limited: dict[Kind, str], name: str, mode: str
) -> None:
    build, options, index = BOUNDED[name]
    keyed = KEYED if name in KEYED_STATEMENTS else {}
    listed = {**keyed, **LISTED.get(name, {}), **ENCODED}
    statement = build(message_table(), POSTGRESQL, **options)
    role = limited[KINDS.get(name, Kind.CONSUMER)]

    plan = explain(loaded, statement, mode, role=role, **listed)

    assert index in plan.text, plan.text
    assert "Seq Scan" not in plan.text, plan.text
    assert plan.rows <= 400, plan.text
    assert plan.buffers <= 4_000, plan.text


# What is not bounded here, and why.
EXEMPT = {
    **dict.fromkeys(
        ["counts", "dead_letters", "queue_stats", "stuck_claims"], "counts all there is, for people"
    ),
    **dict.fromkeys(
        ["failing_queues", "redrivable", "prunable", "unencrypted"], "counts all there is, too"
    ),
    **dict.fromkeys(
        ["failing_messages", "holders", "letters"], "reads a state of a queue, for people"
    ),
    **dict.fromkeys(["stored_objects", "encrypted"], "reads the table, for thousands at once"),
    **dict.fromkeys(["reads_errors", "may_delete", "clock"], "reads no table"),
    **dict.fromkeys(["ids_of", "in_bytes"], "reads what the statement reads that it is given"),
    **dict.fromkeys(
        ["pause", "unpause", "paused", "paused_queues", "set_backlog", "limited_backlogs"],
        "reads a table of few rows",
    ),
    **dict.fromkeys(["limit", "limits", "limited_queues", "add_slots"], "reads tables of few rows"),
    "vacancy": "reads these, and no more claims than the limit is: see test_limits",
    "is_known": "of a queue with many messages it reads the first row of the table",
    **dict.fromkeys(["pass_owed", "still_ordered"], "see ordering/test_plans"),
    **dict.fromkeys(
        ["push_one", "with_turn", "claim_this_one", "room", "due_slots", "take_slots"],
        "only SQLite is sent it: see test_sqlite_statements",
    ),
}


def test_every_statement_is_checked() -> None:
    built = {name for name in statements.__all__ if callable(getattr(statements, name))}

    checked = {build.__name__ for build, _, _ in BOUNDED.values()}

    assert checked == built - set(EXEMPT) - {"ClaimedRow", "Letters", "Start", "Statement"}


def test_of_an_unknown_queue_nothing_is_read(loaded: Engine) -> None:
    statement = statements.is_known(message_table(), POSTGRESQL)

    unknown = {"queue_name": "laod", "dead_letter_queue": "laod.dead"}
    plan = explain(loaded, statement, "force_custom_plan", **unknown)

    assert "Seq Scan" not in plan.text, plan.text
    assert plan.buffers < 100, plan.text


def test_to_count_a_queue_reads_nothing_of_the_others(loaded: Engine) -> None:
    statement = statements.counts(message_table(), POSTGRESQL)

    unknown = {"queue_name": "laod", "dead_letter_queue": "laod.dead", "index_name": TURN_NAME}
    plan = explain(loaded, statement, "force_custom_plan", **unknown)

    assert plan.buffers < 100, plan.text


@pytest.mark.parametrize("mode", MODES)
def test_an_ack_leaves_the_partial_indexes_alone(loaded: Engine, mode: str) -> None:
    plan = explain(loaded, statements.ack(message_table(), POSTGRESQL), mode)

    assert "ix_xclaim_message" not in plan.text
    assert plan.buffers < 20, plan.text


def test_a_claim_planned_while_the_table_was_empty_stays_quick(
    fresh_postgresql_url: str,
) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET plan_cache_mode = force_generic_plan"))
        connection.execute(text("SET enable_seqscan = off"))
        compiled = statements.claim(message_table(), POSTGRESQL).compile(
            dialect=full_names.dialect()
        )
        cursor = connection.connection.cursor()
        for _ in range(2):
            cursor.execute(str(compiled), PARAMETERS, prepare=True)  # type: ignore[call-arg]

        Queue("load", engine).push_many(list(range(20_000)))
        cursor.execute("SELECT generic_plans FROM pg_prepared_statements WHERE generic_plans > 0")
        generic = cursor.fetchall()
        connection.execute(text("SELECT pg_stat_reset()"))
        cursor.execute(str(compiled), PARAMETERS, prepare=True)  # type: ignore[call-arg]
        claimed = cursor.fetchall()
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        read = connection.scalar(
            text("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = :name"),
            {"name": "xclaim_message"},
        )

    engine.dispose()
    assert generic
    assert len(claimed) == 1
    assert read is not None
    assert read < 100


@pytest.mark.parametrize(
    ("name", "search"),
    [
        ("claim", f"SEARCH waiting USING {CLAIMABLE}"),
        ("claim again", f"SEARCH waiting USING {CLAIMABLE}"),
        ("claim again", "SEARCH held USING INDEX ix_xclaim_message_claim_key (claim_key=?)"),
        ("ack", "SEARCH xclaim_message USING INTEGER PRIMARY KEY (rowid=?)"),
        ("ack_many", "SEARCH xclaim_message USING INTEGER PRIMARY KEY (rowid=?)"),
        ("hand_back", "SEARCH xclaim_message USING INTEGER PRIMARY KEY (rowid=?)"),
        ("expire", "INDEX ix_xclaim_message_expiry (queue=? AND claim_expires_at<?)"),
        ("redrive", "INDEX ix_xclaim_message_claim (queue=?)"),
        ("prune", "INDEX ix_xclaim_message_consumed (queue=? AND consumed_at<?)"),
        ("peek", f"SEARCH waiting USING {CLAIMABLE}"),
        ("find", "INDEX uq_xclaim_message_unique_key (origin_queue=? AND unique_key=?)"),
        ("withdraw", "INDEX uq_xclaim_message_unique_key (origin_queue=? AND unique_key=?)"),
        ("newest", f"SEARCH waiting USING {CLAIMABLE}"),
        ("resume", "SEARCH held USING INDEX ix_xclaim_message_claim_key (claim_key=?)"),
        ("take_back", "SEARCH held USING INDEX ix_xclaim_message_claim_key (claim_key=?)"),
        ("claim_one", "SEARCH wanted USING INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_sqlite_searches_by_index(sqlite_url: str, name: str, search: str) -> None:
    engine = create_engine(sqlite_url)
    build, _, again = name.partition(" ")
    options = {"resumes": True} if again else {}
    statement = getattr(statements, build)(message_table(), SQLITE, **options)
    compiled = statement.compile(dialect=engine.dialect)

    with engine.connect() as connection:
        values = tuple(
            (PARAMETERS | compiled.params).get(key, 1) for key in compiled.positiontup or []
        )
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values).all()

    engine.dispose()
    details = [row[-1] for row in plan]
    assert any(search in detail for detail in details), details
    assert not [detail for detail in details if "AUTOMATIC" in detail], details
    assert not [detail for detail in details if "SCAN xclaim_message" in detail], details
