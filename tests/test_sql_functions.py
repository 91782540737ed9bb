"""The verbs as SQL functions: each leaves the same rows as the verb, and gives the same answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from tests import sql_functions
from tests.eventually import until
from tests.function_places import SCHEMA, Place, placed
from xclaim import Claim, Queue, create_engine
from xclaim.operations import migrate, ordering

NO_LEASE = timedelta(0)
HOUR = timedelta(hours=1)


def test_the_migration_has_what_the_statements_say() -> None:
    frozen = sql_functions.PATH.read_text()

    assert frozen == sql_functions.text(), "run `python -m tests.sql_functions`"


@pytest.fixture(params=[None, SCHEMA], ids=["by the path", "named"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    by_path = request.param is None
    url = request.getfixturevalue("fresh_postgresql_url" if by_path else "empty_postgresql_url")
    with placed(url, request.param) as there:
        yield there


TIMES = (
    "created_at",
    "available_at",
    "due_at",
    "claimed_at",
    "claim_expires_at",
    "consumed_at",
)


def seen(rows: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows without what differs from run to run: ids, tokens, what time it is."""
    old = {row["id"]: row for row in before}
    return [_seen(row, old.get(row["id"]), place) for place, row in enumerate(rows)]


def _seen(row: dict[str, Any], old: dict[str, Any] | None, place: int) -> dict[str, Any]:
    times = {name: _time(row, old, name) for name in TIMES}
    token = (
        row["claim_token"] and "new" if old is None else row["claim_token"] == old["claim_token"]
    )
    spans = {
        "lease": times["claimed_at"] == "past" and row["claim_expires_at"] - row["claimed_at"],
        "delay": old is None and (row["available_at"] or row["due_at"]) - row["created_at"],
    }
    failures = [
        {name: value for name, value in failure.items() if name != "at"}
        for failure in row["failures"] or []
    ]
    apart = {"id": place, "claim_token": token, "failures": failures, "now": None}
    return {**row, **times, **apart, **spans}


def _time(row: dict[str, Any], old: dict[str, Any] | None, name: str) -> str | None:
    if row[name] is None:
        return None
    if old is not None and old[name] == row[name]:
        return "as it was"
    return "future" if row[name] > row["now"] else "past"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A verb: what there is before, and how it is called the one way and the other.

    ``tells``: what of the answer of the one is the answer of the other. ``is_ordered``: it takes
    a database where ordering keys are enabled.
    """

    verb: Callable[[Queue, Any], Any]
    sql: str
    before: Callable[[Queue], Any] = lambda _: None
    given: Callable[[Any], tuple[Any, ...]] = lambda _: ()
    tells: Callable[[Any], Any] = lambda answer: answer
    is_ordered: bool = False


def some(queue: Queue) -> None:
    queue.push_many(list(range(3)), unique_keys=["a", None, "b"], headers={"dag_id": "d"})
    queue.push("first", priority=5)
    queue.push("later", delay=HOUR)


def held(count: int = 1, **options: Any) -> Callable[[Queue], list[Claim]]:
    def claim(queue: Queue) -> list[Claim]:
        some(queue)
        return queue.claim_many(count, claimed_by="me", **options)

    return claim


def tired(queue: Queue) -> list[Claim]:
    """Return a claim after which a failure is followed by the longest pause."""
    queue.push(1, max_attempts=None)
    for _ in range(12):
        queue.release(claimed(queue), delay=NO_LEASE)
    return [claimed(queue)]


def last(queue: Queue) -> list[Claim]:
    """Return a claim that is the last which its message may have."""
    queue.push(1, max_attempts=1)
    return [claimed(queue)]


def claimed(queue: Queue) -> Claim:
    claim = queue.claim(claimed_by="me")
    assert claim is not None
    return claim


def lines(queue: Queue) -> None:
    queue.push_many(
        [1, 2, 3], unique_keys=["one", None, "three"], ordering_keys=["a", "a", None], delay=HOUR
    )
    queue.push("first", ordering_key="b")


def in_turn(queue: Queue) -> list[Claim]:
    """Return a claim of a message that has the turn of its key."""
    lines(queue)
    return [claimed(queue)]


def batch(queue: Queue) -> list[Claim]:
    """Return two claims of one line, in which a third one stands."""
    queue.push_many([1, 2, 3], ordering_keys=["a"] * 3)
    return queue.claim_many(2, claimed_by="me", whole_lines=True)


def dead(queue: Queue) -> None:
    queue.push_many([1, 2, 3], max_attempts=1)
    for _ in range(2):
        queue.release(claimed(queue), error="bad")


def paused(queue: Queue) -> None:
    some(queue)
    queue.pause()


def several(queue: Queue) -> None:
    dead(queue)
    held(2)(queue)


def release(options: Any, queue: Queue, claims: list[Claim]) -> Any:
    return queue.release(claims[0], **options)


def receipts(claims: list[Claim]) -> tuple[Any, ...]:
    return claims[0].message.id, claims[0].token


def lists(claims: list[Claim]) -> tuple[Any, ...]:
    return [claim.message.id for claim in claims], [claim.token for claim in claims]


ID_1 = '{"id": 1}'
PUSH_OPTIONS = (
    "priority => 3, delay => '1 hour', max_attempts => 2, headers => '{\"dag_id\": \"d\"}'"
)
OPTIONS: Any = {"priority": 3, "delay": HOUR, "max_attempts": 2, "headers": {"dag_id": "d"}}
ORDERED = {
    "push, the first of its line": Case(
        verb=lambda queue, _: queue.push({"id": 1}, ordering_key="new", **OPTIONS),
        sql=f"SELECT xclaim_push('orders', '{ID_1}', ordering_key => 'new', {PUSH_OPTIONS})"
        " IS NOT NULL",
        before=lines,
        tells=lambda _: [(True,)],
    ),
    "push, behind another": Case(
        verb=lambda queue, _: queue.push(2, ordering_key="b", on_dead="hold", delay=HOUR),
        sql="SELECT xclaim_push('orders', '2', ordering_key => 'b', on_dead => 'hold',"
        " delay => '1 hour') IS NOT NULL",
        before=lines,
        tells=lambda _: [(True,)],
    ),
    "push, once and in line": Case(
        verb=lambda queue, _: queue.push(2, unique_key="new", ordering_key="a"),
        sql="SELECT xclaim_push('orders', '2', 'new', ordering_key => 'a') IS NOT NULL",
        before=lines,
        tells=lambda _: [(True,)],
    ),
    "push, again and with another line": Case(
        verb=lambda queue, _: queue.push(3, unique_key="three", ordering_key="b"),
        sql="SELECT xclaim_push('orders', '3', 'three', ordering_key => 'b')",
        before=lines,
        tells=lambda message: [(message.id,)],
    ),
    "push_many, in line": Case(
        verb=lambda queue, _: queue.push_many(
            [1, 2, 3, 4], ordering_keys=["a", "new", None, "new"], on_dead="hold"
        ),
        sql="SELECT is_new FROM xclaim_push_many('orders', ARRAY['1', '2', '3', '4']::jsonb[],"
        " ordering_keys => ARRAY['a', 'new', NULL, 'new'], on_dead => 'hold')",
        before=lines,
        tells=lambda messages: [(True,)] * len(messages),
    ),
    "push_many, some again and in line": Case(
        verb=lambda queue, _: queue.push_many(
            [1, 4, 4, 5],
            unique_keys=["one", "four", "four", None],
            ordering_keys=["b", "b", "c", "c"],
        ),
        sql="SELECT is_new FROM xclaim_push_many('orders', ARRAY['1', '4', '4', '5']::jsonb[],"
        " ARRAY['one', 'four', 'four', NULL], ordering_keys => ARRAY['b', 'b', 'c', 'c'])",
        before=lines,
        tells=lambda _: [(False,), (True,), (False,), (True,)],
    ),
    "push_many, no key in line": Case(
        verb=lambda queue, _: queue.push_many([1, 2], ordering_keys=[None, None]),
        sql="SELECT is_new FROM xclaim_push_many('orders', ARRAY['1', '2']::jsonb[],"
        " ordering_keys => ARRAY[NULL, NULL])",
        before=lines,
        tells=lambda _: [(True,), (True,)],
    ),
    "claim, in line": Case(
        verb=lambda queue, _: queue.claim_many(9, claimed_by="me"),
        sql="SELECT id, payload, ordering_key FROM xclaim_claim('orders', 'me', n => 9)",
        before=lines,
        tells=lambda claims: [
            (each.message.id, each.payload, each.message.ordering_key) for each in claims
        ],
    ),
    **{
        f"release, {name}": Case(
            verb=partial(release, {"count": False}),
            sql="SELECT queue, status, attempts, available_at"
            " FROM xclaim_release(%s, %s, counts => false)",
            before=before,
            given=receipts,
            tells=lambda message: [
                (message.queue, str(message.status), message.attempts, message.available_at)
            ],
        )
        for name, before in [
            ("the one with the turn", in_turn),
            ("one of a batch, whose turn goes to another", batch),
            ("the second of a batch, that stands in line", lambda queue: batch(queue)[::-1]),
        ]
    },
    "peek, in line": Case(
        verb=lambda queue, _: queue.peek(9),
        sql="SELECT id, ordering_key, available_at FROM xclaim_peek('orders', 9)",
        before=lines,
        tells=lambda found: [(each.id, each.ordering_key, each.available_at) for each in found],
    ),
}
CASES = {
    **{name: replace(case, is_ordered=True) for name, case in ORDERED.items()},
    "push": Case(
        verb=lambda queue, _: queue.push({"id": 1}, **OPTIONS),
        sql=f"SELECT xclaim_push('orders', '{ID_1}', {PUSH_OPTIONS}) IS NOT NULL",
        tells=lambda _: [(True,)],
    ),
    "push, plainly": Case(
        verb=lambda queue, _: queue.push([None, "ü"]),
        sql="SELECT xclaim_push('orders', '[null, \"ü\"]') IS NOT NULL",
        tells=lambda _: [(True,)],
    ),
    "push, for ever": Case(
        verb=lambda queue, _: queue.push(None, max_attempts=None),
        sql="SELECT xclaim_push('orders', 'null', max_attempts => NULL) IS NOT NULL",
        tells=lambda _: [(True,)],
    ),
    "push, once": Case(
        verb=lambda queue, _: queue.push(7, unique_key="new", **OPTIONS),
        sql=f"SELECT xclaim_push('orders', '7', 'new', {PUSH_OPTIONS}) IS NOT NULL",
        before=some,
        tells=lambda _: [(True,)],
    ),
    "push, again": Case(
        verb=lambda queue, _: queue.push(2, unique_key="b"),
        sql="SELECT xclaim_push('orders', '2', unique_key => 'b')",
        before=some,
        tells=lambda message: [(message.id,)],
    ),
    "push_many": Case(
        verb=lambda queue, _: queue.push_many([1, {"a": [2]}, "x"], **OPTIONS),
        sql="SELECT is_new FROM xclaim_push_many('orders',"
        " ARRAY['1', '{\"a\": [2]}', '\"x\"']::jsonb[], NULL, 3, '1 hour', 2,"
        ' \'{"dag_id": "d"}\')',
        tells=lambda messages: [(True,)] * len(messages),
    ),
    "push_many, none": Case(
        verb=lambda queue, _: queue.push_many([]),
        sql="SELECT is_new FROM xclaim_push_many('orders', '{}')",
    ),
    "push_many, some again": Case(
        verb=lambda queue, _: [
            each.id
            for each in queue.push_many([0, 2, 3, 4, 4], unique_keys=["c", "b", None, "d", "d"])
        ],
        sql="SELECT is_new FROM xclaim_push_many('orders', ARRAY['0', '2', '3', '4', '4']::jsonb[],"
        " ARRAY['c', 'b', NULL, 'd', 'd'])",
        before=some,
        tells=lambda _: [(True,), (False,), (True,), (True,), (False,)],
    ),
    "claim": Case(
        verb=lambda queue, _: queue.claim(claimed_by="me"),
        sql="SELECT id, payload, attempts FROM xclaim_claim('orders', 'me')",
        before=some,
        tells=lambda claim: [(claim.message.id, "first", 1)],
    ),
    "claim, several": Case(
        verb=lambda queue, _: queue.claim_many(9, claimed_by="me", lease=HOUR),
        sql="SELECT id, payload, unique_key, headers"
        " FROM xclaim_claim('orders', 'me', n => 9, lease => '1 hour')",
        before=some,
        tells=lambda claims: [
            (each.message.id, each.payload, each.message.unique_key, each.message.headers)
            for each in claims
        ],
    ),
    "claim, nothing": Case(
        verb=lambda queue, _: queue.claim_many(1),
        sql="SELECT * FROM xclaim_claim('orders')",
    ),
    "claim, of a paused queue": Case(
        verb=lambda queue, _: queue.claim_many(1),
        sql="SELECT * FROM xclaim_claim('orders')",
        before=paused,
    ),
    "claim, what lapsed": Case(
        verb=lambda queue, _: queue.claim_many(9, claimed_by="you"),
        sql="SELECT id FROM xclaim_claim('orders', 'you', n => 9)",
        before=held(4, lease=NO_LEASE),
        tells=lambda claims: [(each.message.id,) for each in claims],
    ),
    "claim, back from an earlier attempt": Case(
        verb=lambda queue, _: queue.claim_many(9, claimed_by="try 2", claim_key="task"),
        sql="SELECT id, attempts FROM xclaim_claim('orders', 'try 2', n => 9, claim_key => 'task')",
        before=held(2, claim_key="task"),
        tells=lambda claims: [(each.message.id, 2) for each in claims],
    ),
    "claim, for an attempt that is the first": Case(
        verb=lambda queue, _: queue.claim_many(2, claimed_by="try 1", claim_key="task"),
        sql="SELECT id FROM xclaim_claim('orders', 'try 1', n => 2, claim_key => 'task')",
        before=some,
        tells=lambda claims: [(each.message.id,) for each in claims],
    ),
    "ack": Case(
        verb=lambda queue, claims: queue.ack(claims[0]),
        sql="SELECT FROM xclaim_ack(%s, %s)",
        before=held(),
        given=receipts,
        tells=lambda _: [()],
    ),
    "ack, late": Case(
        verb=lambda queue, claims: queue.ack(claims[0]),
        sql="SELECT FROM xclaim_ack(%s, %s)",
        before=held(lease=NO_LEASE),
        given=receipts,
        tells=lambda _: [()],
    ),
    "ack_many": Case(
        verb=lambda queue, claims: queue.ack_many(claims),
        sql="SELECT * FROM xclaim_ack_many(%s, %s) AS id ORDER BY id",
        before=held(3),
        given=lists,
        tells=lambda _: [(1,), (2,), (4,)],
    ),
    **{
        f"release, {name}": Case(
            verb=partial(release, options),
            sql=f"SELECT queue, status, attempts FROM xclaim_release(%s, %s{more})",
            before=before,
            given=receipts,
            tells=lambda message: [(message.queue, str(message.status), message.attempts)],
        )
        for name, before, options, more in [
            ("plainly", held(), {}, ""),
            ("later", held(), {"delay": HOUR}, ", delay => '1 hour'"),
            ("failed", tired, {"error": "bad"}, ", error => 'bad'"),
            (
                "failed, later",
                held(),
                {"error": "bad", "delay": HOUR},
                ", error => 'bad', delay => '1 hour'",
            ),
            ("not counted", held(), {"count": False}, ", counts => false"),
            (
                "not counted, later",
                held(),
                {"count": False, "delay": HOUR},
                ", counts => false, delay => '1 hour'",
            ),
            (
                "not counted, noted",
                held(),
                {"count": False, "error": "bad"},
                ", counts => false, error => 'bad'",
            ),
            (
                "not counted, noted, later",
                held(),
                {"count": False, "error": "bad", "delay": HOUR},
                ", counts => false, error => 'bad', delay => '1 hour'",
            ),
            ("the last time", last, {}, ""),
            ("failed for the last time", last, {"error": "bad"}, ", error => 'bad'"),
            (
                "with the class of an error",
                last,
                {"error": ValueError("bad")},
                ", error => 'ValueError: bad', error_class => 'ValueError'",
            ),
        ]
    },
    "extend": Case(
        verb=lambda queue, claims: queue.extend(claims[0], lease=HOUR),
        sql="SELECT xclaim_extend(%s, %s, lease => '1 hour') > now()",
        before=held(lease=NO_LEASE),
        given=receipts,
        tells=lambda _: [(True,)],
    ),
    "expire": Case(
        verb=lambda queue, _: queue.expire(limit=2),
        sql="SELECT xclaim_expire('orders', 2)",
        before=held(3, lease=NO_LEASE),
        tells=lambda count: [(count,)],
    ),
    "redrive": Case(
        verb=lambda queue, _: queue.redrive(),
        sql="SELECT xclaim_redrive('orders')",
        before=dead,
        tells=lambda count: [(count,)],
    ),
    "redrive, elsewhere": Case(
        verb=lambda queue, _: queue.redrive(limit=1, to="others"),
        sql="SELECT xclaim_redrive('orders', 'others', 1)",
        before=dead,
        tells=lambda count: [(count,)],
    ),
    "withdraw": Case(
        verb=lambda queue, _: queue.withdraw(["a", "b", "c"]),
        sql="SELECT xclaim_withdraw('orders', ARRAY['a', 'b', 'c'])",
        before=held(2),
        tells=lambda count: [(count,)],
    ),
    "prune": Case(
        verb=lambda queue, _: queue.prune(older_than=NO_LEASE),
        sql="SELECT xclaim_prune('orders', '0')",
        before=lambda queue: queue.ack_many(held(2)(queue)),
        tells=lambda count: [(count,)],
    ),
    "prune, too young": Case(
        verb=lambda queue, _: queue.prune(older_than=HOUR),
        sql="SELECT xclaim_prune('orders', '1 hour')",
        before=lambda queue: queue.ack_many(held(2)(queue)),
        tells=lambda count: [(count,)],
    ),
    "peek": Case(
        verb=lambda queue, _: queue.peek(9),
        sql="SELECT id, payload, available_at FROM xclaim_peek('orders', 9)",
        before=some,
        tells=lambda found: [(each.id, each.payload, each.available_at) for each in found],
    ),
    "counts": Case(
        verb=lambda queue, _: queue.counts(),
        sql="SELECT * FROM xclaim_counts('orders')",
        before=several,
        tells=lambda counts: [
            (
                counts.available,
                counts.delayed,
                counts.claimed,
                counts.consumed,
                counts.dead_letters,
                counts.in_line,
            )
        ],
    ),
}


@pytest.fixture
def strict(empty_postgresql_url: str) -> Iterator[Place]:
    """A place whose server makes an error of all that PL/pgSQL can warn of."""
    engine = create_engine(empty_postgresql_url)
    with engine.begin() as connection:
        name = engine.url.database
        connection.execute(text(f"ALTER DATABASE {name} SET plpgsql.extra_errors = 'all'"))
    engine.dispose()
    migrate.upgrade(empty_postgresql_url)
    with placed(empty_postgresql_url, None) as there:
        yield there


@pytest.mark.parametrize("name", CASES)
def test_a_function_does_what_the_verb_does(place: Place, name: str) -> None:
    does_the_same(place, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_a_function_does_so_where_a_server_makes_errors_of_warnings(
    strict: Place, name: str
) -> None:
    does_the_same(strict, CASES[name])


def does_the_same(place: Place, case: Case) -> None:
    if case.is_ordered:
        ordering.enable(place.engine, schema=place.schema)
    with place.engine.connect() as connection:
        queue = place.queue(connection)
        given = case.before(queue)
        before = place.rows(connection)

        with connection.begin_nested() as undone:
            answer = case.verb(queue, given)
            by_verb = seen(place.rows(connection), before)
            undone.rollback()
        called = [tuple(row) for row in place.call(connection, case.sql, case.given(given))]
        by_function = seen(place.rows(connection), before)

    assert by_function == by_verb
    assert called == case.tells(answer)


CLAIM = "SELECT id, token FROM xclaim_claim('orders')"


@pytest.mark.parametrize("passing_on", [CLAIM, "SELECT xclaim_expire('orders')"])
def test_a_turn_that_is_owed_is_passed_on_in_sql(place: Place, passing_on: str) -> None:
    ordering.enable(place.engine, schema=place.schema)
    queue = place.queue()
    queue.push(1, ordering_key="a")
    with place.engine.connect() as worker:
        worker.execution_options(isolation_level="AUTOCOMMIT")
        with place.engine.begin() as producer:
            place.queue(producer).push(2, ordering_key="a")
            (claim,) = place.call(worker, CLAIM)
            place.call(worker, "SELECT FROM xclaim_ack(%s, %s)", tuple(claim))
            assert place.call(worker, CLAIM) == []

        def is_passed_on() -> bool:
            place.call(worker, passing_on)
            return queue.counts().in_line == 0

        until(is_passed_on)
