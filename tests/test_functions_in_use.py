"""The SQL functions as others use them: what fails, who may call them, and how they are planned."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from tests import sql_functions
from tests.eventually import until
from tests.function_places import AS_IS, SCHEMA, Place, placed
from tests.people import People, people, refused
from xclaim import Queue
from xclaim.operations import ordering

LOST, DUPLICATE, FULL, INVALID, NULL = "XC001", "XC002", "XC003", "22023", "22004"
NO_TOKEN = UUID(int=0)  # of nobody
TABLE_OF_OURS = "CREATE TEMP TABLE xclaim_message (LIKE public.xclaim_message INCLUDING ALL)"
# All that a search path could put before PostgreSQL's own.
TRAPS = """
CREATE SCHEMA trap;
CREATE FUNCTION trap.statement_timestamp() RETURNS timestamptz LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION trap.equal(text, text) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.equal);
CREATE FUNCTION trap.xclaim_expire(queue text, n integer DEFAULT 1000) RETURNS bigint
    LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
"""


@pytest.fixture
def place(fresh_postgresql_url: str) -> Iterator[Place]:
    with placed(fresh_postgresql_url, None) as there:
        yield there


@contextmanager
def failing(state: str) -> Iterator[Any]:
    """Expect an error of this SQLSTATE."""
    with pytest.raises(DBAPIError) as caught:
        yield caught
    assert getattr(caught.value.orig, "sqlstate", None) == state


def run(engine: Engine, sql: str, *given: Any) -> list[Any]:
    with engine.begin() as connection:
        return list(connection.exec_driver_sql(sql, given).all())


def claimed(engine: Engine) -> Any:
    (row,) = run(engine, "SELECT * FROM xclaim_claim('orders')")
    return row


def test_each_verb_is_a_function() -> None:
    verbs = (
        "push push_many push_row claim ack ack_many release extend expire redrive withdraw prune"
    )

    assert sql_functions.names() == [f"xclaim_{verb}" for verb in f"{verbs} peek counts".split()]
    assert list(sql_functions.promises()) == sql_functions.names()


@pytest.mark.parametrize(
    "settle",
    [
        "SELECT xclaim_ack(%s, %s)",
        "SELECT xclaim_release(%s, %s)",
        "SELECT xclaim_release(%s, %s, error => 'bad')",
        "SELECT xclaim_release(%s, %s, counts => false)",
        "SELECT xclaim_extend(%s, %s)",
    ],
)
def test_a_lost_claim_fails_the_callers_transaction(place: Place, settle: str) -> None:
    run(place.engine, "SELECT xclaim_push('orders', '1')")
    first = claimed(place.engine)
    run(place.engine, "SELECT xclaim_release(%s, %s)", first.id, first.token)
    second = claimed(place.engine)

    with place.engine.connect() as connection:
        connection.execute(text("CREATE TABLE effect ()"))
        with failing(LOST):
            connection.exec_driver_sql(settle, (first.id, first.token))
        connection.rollback()
        effect = connection.scalar(text("SELECT to_regclass('effect')"))

    assert effect is None
    run(place.engine, "SELECT xclaim_ack(%s, %s)", second.id, second.token)
    assert place.queue().counts().consumed == 1


def test_of_many_acks_those_are_named_that_were_held(place: Place) -> None:
    place.queue().push_many([1, 2])
    first = claimed(place.engine)
    ids = [first.id, first.id + 1]

    acked = run(place.engine, "SELECT xclaim_ack_many(%s, %s)", ids, [first.token, NO_TOKEN])

    assert acked == [(first.id,)]


@pytest.mark.parametrize(
    "push",
    [
        "SELECT xclaim_push('orders', '2', unique_key => 'key')",
        "SELECT xclaim_push_many('orders', ARRAY['3', '2']::jsonb[], ARRAY[NULL, 'key'])",
        "SELECT xclaim_push_many('orders', ARRAY['3', '2']::jsonb[], ARRAY['new', 'new'])",
    ],
)
def test_another_payload_under_a_key_is_refused_and_nothing_is_pushed(
    place: Place, push: str
) -> None:
    run(place.engine, "SELECT xclaim_push('orders', '1', unique_key => 'key')")

    with failing(DUPLICATE):
        run(place.engine, push)

    assert place.queue().counts().available == 1


@pytest.mark.parametrize("orders", [False, True])
def test_a_full_queue_refuses_what_is_new(place: Place, *, orders: bool) -> None:
    queue = Queue("orders", place.engine)
    if orders:
        ordering.enable(place.engine)
        queue.push_many(["in line"] * 2, ordering_keys=["a"] * 2)
    run(place.engine, "SELECT xclaim_push('orders', '1', unique_key => 'one')")
    queue.limit_backlog(max_backlog=2 + 2 * orders, on_full="skip")
    run(place.engine, "SELECT xclaim_push('orders', '2')")

    for refused_call in (
        "xclaim_push('orders', '3')",
        "xclaim_push('orders', '3', unique_key => 'three')",
        "xclaim_push_many('orders', ARRAY['3']::jsonb[])",
        "xclaim_push_many('orders', ARRAY['1', '3']::jsonb[], ARRAY['one', 'three'])",
        "xclaim_push_many('orders', ARRAY['1', '3']::jsonb[], ARRAY['one', NULL])",
    ):
        with failing(FULL):
            run(place.engine, f"SELECT {refused_call}")
    again = "xclaim_push_many('orders', ARRAY['1', '1']::jsonb[], ARRAY['one', 'one'])"
    for allowed in ("xclaim_push('orders', '1', unique_key => 'one')", again):
        run(place.engine, f"SELECT {allowed}")
    run(place.engine, "SELECT xclaim_push('others', '3')")
    run(place.engine, "SELECT * FROM xclaim_claim('orders')")
    run(place.engine, "SELECT xclaim_push('orders', '3')")
    with failing(FULL):
        run(place.engine, "SELECT xclaim_push_many('orders', ARRAY['4']::jsonb[])")


@pytest.mark.parametrize(
    ("call", "state"),
    [
        ("xclaim_push(NULL, '1')", INVALID),
        ("xclaim_push('', '1')", INVALID),
        ("xclaim_push('  ', '1')", INVALID),
        ("xclaim_push(E'a\\nb', '1')", INVALID),
        ("xclaim_push(repeat('x', 201), '1')", INVALID),
        ("xclaim_push('orders.dead', '1')", INVALID),
        ("xclaim_push('orders', NULL)", NULL),
        ("xclaim_push('orders', '1', unique_key => '')", INVALID),
        ("xclaim_push('orders', '1', unique_key => repeat('x', 1001))", INVALID),
        ("xclaim_push('orders', '1', priority => 40000)", INVALID),
        ("xclaim_push('orders', '1', priority => NULL)", INVALID),
        ("xclaim_push_many('orders', '{1}', priority => NULL)", INVALID),
        ("xclaim_push('orders', '1', delay => '-1 s')", INVALID),
        ("xclaim_push('orders', '1', delay => '-1 year 361 days')", INVALID),  # four days ago
        ("xclaim_push('orders', '1', delay => NULL)", INVALID),
        ("xclaim_push('orders', '1', delay => '11 years')", INVALID),
        ("xclaim_push('orders', '1', max_attempts => 0)", INVALID),
        ("xclaim_push('orders', '1', headers => '[]')", INVALID),
        ("xclaim_push('orders', '1', headers => NULL)", INVALID),
        ("xclaim_push_many('orders', NULL)", NULL),
        ("xclaim_push_many('orders', ARRAY['1', NULL]::jsonb[])", NULL),
        ("xclaim_push_many('orders', '[0:1]={NULL,1}'::jsonb[])", NULL),  # it begins before 1
        ("xclaim_push_many('orders', '[-3:-2]={1,NULL}'::jsonb[], '{a,b}')", NULL),
        ("xclaim_push_many('orders', '{{1,2},{3,4}}'::jsonb[])", INVALID),
        ("xclaim_push_many('orders', ARRAY['1']::jsonb[], ARRAY['a', 'b'])", INVALID),
        ("xclaim_push_many('orders', ARRAY['1']::jsonb[], ARRAY[''])", INVALID),
        ("xclaim_push('orders', '1', on_dead => 'wait')", INVALID),
        ("xclaim_push('orders', '1', on_dead => NULL)", INVALID),
        ("xclaim_push('orders', '1', ordering_key => '')", INVALID),
        ("xclaim_push('orders', '1', ordering_key => repeat('x', 256))", INVALID),
        ("xclaim_push('orders', '1', ordering_key => 'key')", "55000"),
        (
            "xclaim_push_many('orders', ARRAY['1']::jsonb[], ordering_keys => ARRAY['a', 'b'])",
            INVALID,
        ),
        ("xclaim_push_many('orders', ARRAY['1']::jsonb[], ordering_keys => ARRAY[''])", INVALID),
        ("xclaim_claim(NULL)", INVALID),
        ("xclaim_claim('')", INVALID),
        ("xclaim_claim('  ')", INVALID),
        ("xclaim_claim(repeat('x', 201))", INVALID),
        ("xclaim_claim(repeat('x', 201) || '.dead')", INVALID),
        ("xclaim_expire('')", INVALID),
        ("xclaim_redrive('')", INVALID),
        ("xclaim_withdraw('', '{}')", INVALID),
        ("xclaim_prune('', '1 day')", INVALID),
        ("xclaim_peek('')", INVALID),
        ("xclaim_counts('')", INVALID),
        ("xclaim_claim('orders', n => 0)", INVALID),
        ("xclaim_claim('orders', n => NULL)", INVALID),
        ("xclaim_claim('orders', n => 1000001)", INVALID),
        ("xclaim_claim('orders', lease => NULL)", INVALID),
        ("xclaim_claim('orders', lease => '-1 s')", INVALID),
        ("xclaim_claim('orders', claimed_by => '')", INVALID),
        ("xclaim_claim('orders', claim_key => '')", INVALID),
        ("xclaim_claim('orders', lease => '-1 year 361 days')", INVALID),
        ("xclaim_prune('orders', '-1 year 361 days')", INVALID),
        ("xclaim_ack_many('{1}', '{}')", INVALID),
        ("xclaim_ack_many(NULL, '{}')", INVALID),
        ("xclaim_withdraw('orders', ARRAY['key', ''])", INVALID),
        ("xclaim_release(1, NULL, delay => '-1 s')", INVALID),
        ("xclaim_extend(1, NULL, lease => NULL)", INVALID),
        ("xclaim_expire('orders', 0)", INVALID),
        ("xclaim_redrive('orders', 'others.dead')", INVALID),
        ("xclaim_prune('orders', NULL)", INVALID),
        ("xclaim_prune('orders', '1 day', 0)", INVALID),
        ("xclaim_peek('orders', 0)", INVALID),
    ],
)
def test_what_makes_no_sense_is_refused(place: Place, call: str, state: str) -> None:
    with failing(state):
        run(place.engine, f"SELECT {call}")

    assert place.queue().counts().available == 0


def test_the_dead_letters_of_a_queue_with_a_long_name_are_claimed(place: Place) -> None:
    assert run(place.engine, "SELECT id FROM xclaim_claim(repeat('x', 200) || '.dead')") == []


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("xclaim_push('orders', '1', priority => 40000)", "32767, not '40000'"),
        ("xclaim_push('orders', '1', priority => NULL)", "32767, not NULL"),
        ("xclaim_push('orders', '1', delay => '-1 s')", "days, not '-00:00:01'"),
        ("xclaim_claim('orders', n => -5)", "1000000, not '-5'"),
        ("xclaim_ack_many(NULL, '{}')", "0 tokens for NULL ids"),
        ("xclaim_claim(NULL)", "readable bytes, not NULL"),
        ("xclaim_claim(E'a\\nb')", r'readable bytes, not "a\\nb"'),
        ("xclaim_claim(repeat('x', 201))", 'readable bytes, not "x{60}"'),
        ("xclaim_push('orders.dead', '1')", 'failing messages enter "orders.dead"'),
        ("xclaim_push('orders', '1', unique_key => '')", "1000 bytes, not 0"),
        ("xclaim_push('orders', '1', ordering_key => repeat('x', 256))", "255 bytes, not 256"),
        ("xclaim_push('orders', '1', max_attempts => -3)", "any number, not -3"),
        ("xclaim_push('orders', '1', headers => '[]')", "JSON object, not array"),
        ("xclaim_push('orders', '1', headers => NULL)", "JSON object, not NULL"),
        ("xclaim_push('orders', '1', on_dead => 'wait')", "'hold', not \"wait\""),
        ("xclaim_push_many('orders', '{{1},{2}}'::jsonb[])", "not an array of 2 dimensions"),
        ("xclaim_claim('orders', claim_key => repeat('x', 1001))", "bytes, not [0-9]+ and 1001"),
    ],
)
def test_what_is_refused_is_named(place: Place, call: str, said: str) -> None:
    with pytest.raises(DBAPIError, match=said):
        run(place.engine, f"SELECT {call}")


@pytest.mark.parametrize("payload", ["the same", "another"])
def test_a_key_that_two_push_at_once_is_one_message(place: Place, payload: str) -> None:
    push = "SELECT xclaim_push('orders', to_jsonb(%s::text), unique_key => 'key')"

    with ThreadPoolExecutor(1) as pool, place.engine.connect() as connection:
        (first,) = connection.exec_driver_sql(push, ("the same",)).all()
        second = pool.submit(run, place.engine, push, payload)
        until(lambda: _waits_for_a_lock(place))
        connection.commit()
        error = second.exception()

    assert (error is not None) == (payload == "another")
    if error is None:
        assert second.result() == [first]
    else:
        assert getattr(error, "orig").sqlstate == DUPLICATE  # noqa: B009  (any exception)


def _waits_for_a_lock(place: Place) -> bool:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return bool(run(place.engine, sql)[0][0])


def test_functions_and_verbs_claim_each_message_once(place: Place) -> None:
    place.queue().push_many(list(range(300)))

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(take, place) for take in (_by_function, _by_verb) * 2]
        taken = [id_ for each in work for id_ in each.result()]

    assert sorted(taken) == sorted(set(taken))
    assert len(taken) == 300
    assert place.queue().counts().consumed == 300


def _by_function(place: Place) -> list[int]:
    taken: list[int] = []
    sql = "SELECT id, token FROM xclaim_claim('orders', n => 3)"
    while claims := run(place.engine, sql):
        taken += [row.id for row in claims]
        for row in claims:
            run(place.engine, "SELECT xclaim_ack(%s, %s)", row.id, row.token)
    return taken


def _by_verb(place: Place) -> list[int]:
    taken: list[int] = []
    while claims := place.queue().claim_many(3):
        taken += [claim.message.id for claim in claims]
        place.queue().ack_many(claims)
    return taken


def test_what_the_callers_path_finds_is_not_called(place: Place) -> None:
    with place.engine.connect() as connection:
        connection.exec_driver_sql(TRAPS, execution_options=AS_IS)
        connection.exec_driver_sql("SET search_path = trap, pg_catalog, public")
        connection.exec_driver_sql(TABLE_OF_OURS)
        call = connection.exec_driver_sql
        call("SELECT public.xclaim_push('orders', '1')")
        call("SELECT * FROM public.xclaim_claim('nothing', lease => '0')")
        (row,) = call("SELECT id, token FROM public.xclaim_claim('orders')").all()
        call("SELECT public.xclaim_ack(%s, %s)", (row.id, row.token))
        ours = call("SELECT count(*) FROM pg_temp.xclaim_message").scalar()
        theirs = call("SELECT count(*) FROM public.xclaim_message").scalar()

    assert (ours, theirs) == (0, 1)


def test_the_tables_of_two_schemas_are_two(empty_postgresql_url: str) -> None:
    with placed(empty_postgresql_url, SCHEMA) as one, placed(empty_postgresql_url, "b") as two:
        with one.engine.begin() as connection:
            one.call(connection, "SELECT xclaim_push('orders', '1')")

        assert one.queue().counts().available == 1
        assert two.queue().counts().available == 0


A_HUNDRED_THOUSAND = """
INSERT INTO xclaim_message (queue, origin_queue, payload, created_at, available_at, unique_key)
SELECT 'orders', 'orders', '1', now(), now() - interval '1 hour', 'other ' || n
  FROM generate_series(1, 100000) AS n
"""
PLANNED = [
    "SELECT xclaim_push('orders', '1')",
    "SELECT xclaim_push('orders', '1', unique_key => 'key 7')",
    "SELECT xclaim_claim('orders')",
    "SELECT xclaim_claim('orders', claim_key => 'task')",
    # An argument of another collation is given to all of them: no index would be found by it.
    "SELECT xclaim_claim('orders', current_user)",
    "SELECT xclaim_push('orders', '1', unique_key => 'key 7' COLLATE \"C\")",
    "SELECT xclaim_withdraw('orders' COLLATE \"C\", ARRAY['key 5'])",
    "SELECT xclaim_peek('orders' COLLATE \"C\")",
    "SELECT xclaim_ack(id, token) FROM xclaim_claim('orders')",
    "SELECT xclaim_release(id, token, error => 'bad') FROM xclaim_claim('orders')",
    "SELECT xclaim_extend(id, token) FROM xclaim_claim('orders')",
    "SELECT xclaim_ack_many(array_agg(id), array_agg(token)) FROM xclaim_claim('orders')",
    "SELECT xclaim_withdraw('orders', ARRAY['key 5'])",
    "SELECT xclaim_expire('orders', 1)",
    "SELECT xclaim_redrive('orders', n => 1)",
    "SELECT xclaim_prune('orders', '1 day', 1)",
    "SELECT xclaim_peek('orders')",
]


def test_a_plan_that_was_kept_of_an_empty_table_reads_no_more_than_it_needs(place: Place) -> None:
    with place.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        run_in = connection.exec_driver_sql
        run_in("ALTER TABLE xclaim_message SET (autovacuum_enabled = off)")
        for sql in [each for each in PLANNED for _ in range(7)]:
            run_in(sql)
        run_in(A_HUNDRED_THOUSAND)

        read = {}
        for sql in PLANNED:
            run_in(sql)
            (plan,) = run_in(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}").all()[0][0]
            read[sql] = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]

    assert {sql: blocks for sql, blocks in read.items() if blocks > 120} == {}


@pytest.fixture(scope="module")
def granted(postgresql_server: str) -> Iterator[People]:
    with people(postgresql_server, None, ("orders",)) as all_of_them:
        yield all_of_them


def test_a_function_does_what_its_caller_may_do(granted: People) -> None:
    push, claim = (
        "SELECT xclaim_push('orders', '1')",
        "SELECT id, token FROM xclaim_claim('orders')",
    )
    granted.run("producer", push)
    ((id_, token),) = granted.run("consumer", claim)
    granted.run("consumer", f"SELECT xclaim_ack({id_}, '{token}')")
    counted = granted.run("observer", "SELECT consumed FROM xclaim_counts('orders')")
    pruned = granted.run("maintainer", "SELECT xclaim_prune('orders', '0')")

    assert (counted, pruned) == ([(1,)], [(1,)])


@pytest.mark.parametrize(
    ("who", "sql"),
    [
        ("producer", "SELECT xclaim_claim('orders')"),
        ("producer", "SELECT xclaim_expire('orders')"),
        ("producer", "SELECT xclaim_prune('orders', '0')"),
        ("producer", "SELECT xclaim_push('others', '1')"),
        ("consumer", "SELECT xclaim_push('orders', '1')"),
        ("consumer", "SELECT xclaim_withdraw('orders', '{key}')"),
        ("observer", "SELECT xclaim_peek('orders')"),
        ("observer", "SELECT xclaim_expire('orders')"),
        ("maintainer", "SELECT xclaim_push('orders', '1')"),
    ],
)
def test_a_function_does_nothing_that_its_caller_may_not(
    granted: People, who: str, sql: str
) -> None:
    granted.owned().push(1)

    with refused():
        granted.run(who, sql)


def test_a_row_is_pushed_by_a_trigger_in_its_own_transaction(place: Place) -> None:
    with place.engine.connect() as connection:
        run_in = connection.exec_driver_sql
        run_in("CREATE TABLE parcel (id int PRIMARY KEY, weight numeric)")
        push = "EXECUTE FUNCTION xclaim_push_row"
        run_in(f"CREATE TRIGGER new AFTER INSERT ON parcel FOR EACH ROW {push}('orders', 'id')")
        run_in(f"CREATE TRIGGER gone AFTER DELETE ON parcel FOR EACH ROW {push}('gone')")
        connection.commit()
        run_in("INSERT INTO parcel VALUES (1, 2.5), (2, NULL)")
        run_in("DELETE FROM parcel WHERE id = 1")
        connection.commit()
        run_in("INSERT INTO parcel VALUES (3, 1)")
        connection.rollback()

    found = place.queue().peek(9)
    gone = Queue("gone", place.engine).peek(9)

    assert [each.payload for each in found] == [
        {"id": 1, "weight": 2.5},
        {"id": 2, "weight": None},
    ]
    assert [each.unique_key for each in found] == ["1", "2"]
    assert [each.payload for each in gone] == [{"id": 1, "weight": 2.5}]


def test_a_row_is_pushed_by_a_trigger_with_an_ordering_key(place: Place) -> None:
    ordering.enable(place.engine)
    with place.engine.begin() as connection:
        run_in = connection.exec_driver_sql
        run_in("CREATE TABLE parcel (id int PRIMARY KEY, customer text)")
        push = "AFTER INSERT ON parcel FOR EACH ROW EXECUTE FUNCTION xclaim_push_row"
        run_in(f"CREATE TRIGGER keyed {push}('orders', 'id', 'customer')")
        run_in(f"CREATE TRIGGER plain {push}('others', '', 'customer')")
        run_in("INSERT INTO parcel VALUES (1, 'ann'), (2, 'ann'), (3, NULL)")

    for queue, unique_keys in (("orders", ["1", "3"]), ("others", [None, None])):
        claims = Queue(queue, place.engine).claim_many(9)
        assert [claim.payload["id"] for claim in claims] == [1, 3]
        assert [claim.message.ordering_key for claim in claims] == ["ann", None]
        assert [claim.message.unique_key for claim in claims] == unique_keys


@pytest.mark.parametrize(
    ("trigger", "state"),
    [
        ("BEFORE INSERT ON parcel FOR EACH ROW EXECUTE FUNCTION xclaim_push_row('a')", INVALID),
        ("AFTER INSERT ON parcel EXECUTE FUNCTION xclaim_push_row('a')", INVALID),
        ("AFTER INSERT ON parcel FOR EACH ROW EXECUTE FUNCTION xclaim_push_row()", INVALID),
        ("AFTER INSERT ON parcel FOR EACH ROW EXECUTE FUNCTION xclaim_push_row('a', 'b')", "42703"),
        (
            "AFTER INSERT ON parcel FOR EACH ROW EXECUTE FUNCTION xclaim_push_row('a', '', 'b')",
            "42703",
        ),
        (
            "AFTER INSERT ON parcel FOR EACH ROW EXECUTE FUNCTION xclaim_push_row('a', '', '', '')",
            INVALID,
        ),
    ],
)
def test_a_trigger_that_cannot_push_stops_the_insert(
    place: Place, trigger: str, state: str
) -> None:
    with place.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE parcel (id int)")
        connection.exec_driver_sql(f"CREATE TRIGGER push {trigger}")

    with failing(state), place.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO parcel VALUES (1)")
