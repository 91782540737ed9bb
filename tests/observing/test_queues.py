"""Which queues there are, and what waits, is held and died in each: on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from tests.looks import patient_observer
from tests.observing.rows import HOUR, MINUTE, SECOND, Rows
from xclaim import Claim, InvalidArgumentError, Queue, SchemaVersionError, create_engine
from xclaim.connections.engine import create_verb_engine
from xclaim.observing import Observer, counting
from xclaim.observing.counting import Bounds
from xclaim.observing.values import Charted, Count, QueueSummary, Verdict
from xclaim.operations import migrate
from xclaim.sql.schema import CHECKS

CLOSE = timedelta(seconds=30)  # between two looks at the clock


def only(observer: Observer) -> QueueSummary:
    (found,) = observer.queues()
    return found


def exactly(number: int) -> Count:
    return Count(at_least=number)


def pause(engine: Engine, queue: str, reason: str | None = None) -> None:
    columns, at = "queue, paused_at, paused_by, reason", "2026-01-01 00:00:00+00:00"
    sql = f"INSERT INTO xclaim_queue ({columns}) VALUES (:queue, '{at}', 'ann', :reason)"
    with engine.begin() as connection:
        connection.execute(text(sql), {"queue": queue, "reason": reason})


def test_a_queue_that_was_paused_once_is_not_listed_for_that(
    engine: Engine, observer: Observer
) -> None:
    pause(engine, "typo")
    listed = [found.name for found in observer.queues()]
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE xclaim_queue SET paused_at = NULL, paused_by = NULL, reason = NULL")
        )

    assert listed == ["typo"]
    assert observer.queues() == []
    assert observer.queue("typo") is None


def test_of_an_empty_database_there_is_nothing_to_see(observer: Observer) -> None:
    assert observer.queues() == []
    assert observer.queue("orders") is None
    assert observer.flows(["orders"])["orders"].waiting is None
    assert observer.measures().queues == ()


def test_each_message_is_counted_once_as_what_it_is(observer: Observer, rows: Rows) -> None:
    rows.available(3, ago=HOUR)
    rows.available(2, ago=-HOUR)  # delayed
    rows.available(1, ago=MINUTE, attempts=2)
    rows.available(1, ago=-MINUTE, attempts=1)
    rows.claimed(2, claimed_at=2 * HOUR)
    rows.claimed(1, left=-MINUTE)
    rows.consumed(5)
    rows.dead(4)

    found = only(observer)

    assert found.name == "orders"
    assert (found.available, found.delayed, found.retrying) == (
        exactly(4),
        exactly(3),
        exactly(2),
    )
    assert (found.claimed, found.lapsed, found.dead) == (exactly(3), exactly(1), exactly(4))
    assert found.oldest_waiting is not None
    assert HOUR <= found.oldest_waiting < HOUR + CLOSE
    assert found.oldest_claim is not None
    assert 2 * HOUR <= found.oldest_claim < 2 * HOUR + CLOSE
    assert found.last_consumed_at is not None
    assert abs(rows.now - MINUTE - found.last_consumed_at) < SECOND


@pytest.mark.parametrize("others", [0, 11], ids=["few queues", "many queues"])
@pytest.mark.parametrize("letters", [1, 200], ids=["few letters", "many letters"])
def test_a_dead_letter_that_rests_until_later_has_not_died_just_now(
    observer: Observer, rows: Rows, others: int, letters: int
) -> None:
    rows.dead(letters, ago=HOUR)
    rows.dead(ago=-HOUR)  # claimed as a dead letter, and released with a delay
    for number in range(others):
        rows.consumed(queue=f"other {number:02}")

    found = {each.name: each for each in observer.queues()}["orders"]
    closely = observer.closely(["orders"])["orders"]
    rows.dead(ago=MINUTE)
    observer.forget()
    later = {each.name: each for each in observer.queues()}["orders"]

    assert [found.verdict, closely.verdict, later.verdict] == [
        Verdict.IDLE,
        Verdict.IDLE,
        Verdict.FAILING,
    ]


@pytest.mark.parametrize("others", [0, 11], ids=["few queues", "many queues"])
@pytest.mark.parametrize("letters", [1, 200], ids=["few letters", "many letters"])
def test_a_message_that_died_just_now_is_seen_whatever_its_priority(
    observer: Observer, rows: Rows, others: int, letters: int
) -> None:
    rows.dead(letters, ago=HOUR, priority=0)
    rows.dead(ago=MINUTE, priority=5)
    rows.dead(ago=HOUR, priority=9)
    for number in range(others):
        rows.consumed(queue=f"other {number:02}")

    listed = {each.name: each for each in observer.queues()}["orders"]

    assert listed.verdict is Verdict.FAILING
    assert observer.closely(["orders"])["orders"].verdict is Verdict.FAILING


@pytest.mark.parametrize("others", [0, 11], ids=["few queues", "many queues"])
def test_who_holds_a_claim_is_seen_behind_however_many_that_lapsed(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    for name in ("counting._LEAST_ENTRIES", "counting._ENTRIES", "glancing.CLAIMS"):
        monkeypatch.setattr(f"xclaim.observing.{name}", 3)
    rows.claimed(5, left=-HOUR)
    for number in range(others):
        rows.consumed(queue=f"other {number:02}")

    stalled = {each.name: each.verdict for each in observer.queues()}
    rows.claimed(left=HOUR)
    observer.forget()
    running = {each.name: each.verdict for each in observer.queues()}

    assert (stalled["orders"], running["orders"]) == (Verdict.STALLED, Verdict.RUNNING)


@pytest.mark.parametrize("others", [0, 11], ids=["few queues", "many queues"])
def test_what_is_held_of_its_dead_letters_is_held_of_the_queue(
    observer: Observer, rows: Rows, others: int
) -> None:
    rows.claimed(2, queue="orders.dead", claimed_at=HOUR)
    rows.claimed(1, queue="orders.dead", left=-MINUTE)
    for number in range(others):
        rows.consumed(queue=f"other {number:02}")

    listed = {each.name: each for each in observer.queues()}["orders"]
    alone = observer.queue("orders")
    measured = {each.queue: each for each in observer.measures().queues}["orders"]

    assert alone is not None
    for found in (listed, alone, measured):
        assert (found.claimed, found.lapsed) == (exactly(3), exactly(1))
    assert alone.oldest_claim is not None
    assert alone.oldest_claim >= HOUR
    assert measured.oldest_claim_seconds >= 3600


@pytest.mark.parametrize("others", [0, 11], ids=["few queues", "many queues"])
def test_who_holds_a_dead_letter_does_not_work_on_the_queue(
    observer: Observer, rows: Rows, others: int
) -> None:
    rows.available(ago=HOUR)
    rows.claimed(queue="orders.dead", left=HOUR)
    for number in range(others):
        rows.consumed(queue=f"other {number:02}")

    listed = {each.name: each.verdict for each in observer.queues()}

    assert listed["orders"] is Verdict.STALLED
    assert observer.closely(["orders"])["orders"].verdict is Verdict.STALLED


@pytest.mark.parametrize("others", [0, 11], ids=["few queues", "many queues"])
def test_a_lapsed_claim_of_a_dead_letter_does_not_stall_the_queue(
    observer: Observer, rows: Rows, others: int
) -> None:
    rows.claimed(queue="orders.dead", left=-HOUR)
    rows.consumed()
    for number in range(others):
        rows.consumed(queue=f"other {number:02}")

    listed = {each.name: each for each in observer.queues()}["orders"]

    assert listed.lapsed.at_least == 1
    assert listed.verdict is Verdict.IDLE
    assert observer.closely(["orders"])["orders"].verdict is Verdict.IDLE


def test_one_queue_is_as_in_the_list_with_its_flow(observer: Observer, rows: Rows) -> None:
    rows.available(3)
    rows.consumed(2)

    listed, found = only(observer), observer.queue("orders")

    assert found is not None
    assert found.flow is not None
    assert (found.available, found.last_consumed_at) == (listed.available, listed.last_consumed_at)


@pytest.mark.parametrize("state", ["available", "claimed", "consumed", "dead"])
def test_a_queue_with_messages_of_one_status_is_listed(
    observer: Observer, rows: Rows, state: str
) -> None:
    getattr(rows, state)()

    assert [found.name for found in observer.queues()] == ["orders"]
    assert observer.queue("orders") is not None


def test_a_queue_without_messages_is_listed_for_its_setting(
    observer: Observer, engine: Engine
) -> None:
    pause(engine, "orders", "the shop moves")

    found = only(observer)

    assert found.verdict is Verdict.PAUSED
    assert found.pause is not None
    assert (found.pause.paused_by, found.pause.reason) == ("ann", "the shop moves")
    assert found.pause.paused_at.isoformat() == "2026-01-01T00:00:00+00:00"
    assert observer.queue("orders") == found or observer.queue("orders") is not None


def test_a_queue_is_found_by_a_part_of_its_name(observer: Observer, rows: Rows) -> None:
    for name in ("Orders", "orders-2", "mail", "100%_\\"):
        rows.available(queue=name)

    assert [found.name for found in observer.queues(named="ORD")] == ["Orders", "orders-2"]
    assert [found.name for found in observer.queues(named="%")] == ["100%_\\"]


def test_the_list_goes_on_behind_a_name(observer: Observer, rows: Rows) -> None:
    for name in ("a", "a-2", "a.dead", "b", "c"):
        rows.available(queue=name)

    first = observer.queues(limit=2)
    second = observer.queues(limit=2, after=first[-1].name)

    assert [found.name for found in first + second] == ["a", "a-2", "b", "c"]


def test_a_queue_has_the_dead_letters_that_sort_far_from_it(observer: Observer, rows: Rows) -> None:
    for name in ("a.dead", "a-b", "a"):
        rows.available(queue=name, ago=HOUR)

    assert [(found.name, found.dead.at_least) for found in observer.queues()] == [
        ("a", 1),
        ("a-b", 0),
    ]


@pytest.mark.parametrize(
    "name", ["O'Brien", 'a "b"', "a\nb", "💡", "%s", ":queue_name", "{0}", "a\\", " ", "a,b"]
)
def test_names_of_any_kind_are_shown_as_they_are(observer: Observer, rows: Rows, name: str) -> None:
    rows.available(queue=name, ago=HOUR)
    rows.claimed(queue=name)
    rows.consumed(queue=name)

    found = only(observer)

    assert found.name == name
    assert observer.queue(name) is not None
    assert observer.flows([name])[found.name].waiting is not None
    assert observer.measures().queues[0].queue == found.name


def test_what_is_delayed_hides_nothing_of_lower_priority(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_LEAST_ENTRIES", 10)
    monkeypatch.setattr(counting, "_ENTRIES", 10)
    rows.available(20, ago=-HOUR, priority=9)
    rows.available(2, ago=HOUR, priority=1)

    found = only(observer)

    assert found.available == exactly(2)
    assert found.delayed == Count(at_least=10, is_exact=False)
    assert found.oldest_waiting is not None
    assert found.oldest_waiting >= HOUR


def test_counting_ends_at_the_bound_and_says_so(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_LEAST_ENTRIES", 10)
    monkeypatch.setattr(counting, "_ENTRIES", 10)
    rows.available(11, ago=HOUR, attempts=1)
    rows.claimed(11, left=-MINUTE)
    rows.dead(11)

    found = only(observer)

    cut = Count(at_least=10, is_exact=False)
    assert (found.available, found.claimed, found.lapsed, found.dead) == (cut, cut, cut, cut)
    assert not found.retrying.is_exact
    assert found.delayed == exactly(0)


def test_behind_many_priorities_the_rest_is_counted_as_it_comes(
    observer: Observer, rows: Rows
) -> None:
    for priority in range(40):
        rows.available(ago=HOUR, priority=priority)
        rows.available(ago=-HOUR, priority=priority)

    found = only(observer)

    assert (found.available, found.delayed) == (exactly(40), exactly(40))


def test_the_share_of_a_queue_is_less_the_more_there_are() -> None:
    bounds = [Bounds.of(queues).entries for queues in (1, 2, 20, 200, 100_000)]

    assert bounds == [10_000, 10_000, 1_000, 100, 100]


@pytest.mark.parametrize("time", ["infinity", "-infinity"])
def test_times_that_only_a_hand_writes_stop_nothing(fresh_postgresql_url: str, time: str) -> None:
    engine = create_engine(fresh_postgresql_url)
    rows = Rows(engine)
    rows.available(queue="a")
    rows.claimed(queue="a")
    rows.consumed(queue="a")
    rows.dead(queue="a.dead")
    with engine.begin() as connection:
        for column in ("created_at", "available_at", "claimed_at", "claim_expires_at"):
            connection.execute(
                text(f"UPDATE xclaim_message SET {column} = '{time}' WHERE {column} IS NOT NULL")
            )
        connection.execute(
            text(f"UPDATE xclaim_message SET consumed_at = '{time}' WHERE consumed_at IS NOT NULL")
        )
    pause(engine, "a")
    observer = patient_observer(engine)

    (found,) = observer.queues()
    observer.flows(["a"])
    observer.measures()

    assert found.claimed == exactly(1)
    assert observer.queue("a") is not None
    for what in ("consumed", "pushed", "died"):
        observer.chart("a", what, HOUR)  # type: ignore[arg-type]
    engine.dispose()


def test_values_that_sqlite_lets_a_hand_write_stop_nothing(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    rows = Rows(engine)
    rows.add(queue="a", attempts="many", priority="high", available_at="soon")
    rows.add(queue="a", available_at=b"\xff", attempts=1.5)
    rows.consumed(queue="a", consumed_at="yesterday", claimed_at=17)
    rows.claimed(queue="a", claim_expires_at="never", claimed_at="long ago")
    observer = patient_observer(engine)

    (found,) = observer.queues()

    assert found.available.at_least + found.delayed.at_least == 2
    assert observer.queue("a") is not None
    observer.measures()
    for what in ("consumed", "pushed", "died"):
        observer.chart("a", what, HOUR)  # type: ignore[arg-type]
    engine.dispose()


def test_what_the_checks_would_forbid_stops_nothing(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.begin() as connection:
        for name in CHECKS:
            connection.execute(text(f"ALTER TABLE xclaim_message DROP CONSTRAINT {name}"))
        connection.execute(text("ALTER TABLE xclaim_queue DROP CONSTRAINT ck_xclaim_queue_paused"))
        sql = "INSERT INTO xclaim_queue (queue, paused_at) VALUES ('a', now())"
        connection.execute(text(sql))
    rows = Rows(engine)
    rows.add(queue="a", status="claimed", claim_expires_at=MINUTE)
    rows.add(queue="a", status="consumed", consumed_at=MINUTE)
    rows.add(queue="", origin_queue="a")
    rows.add(queue=".dead", origin_queue="a")
    observer = patient_observer(engine)

    names = [found.name for found in observer.queues()]

    assert "a" in names
    assert observer.queue("a") is not None
    assert observer.measures().queues
    engine.dispose()


def test_a_queue_of_its_verbs_is_seen(observer: Observer, engine: Engine) -> None:
    with Queue("orders", engine) as queue:
        queue.push_many([1, 2, 3, 4], max_attempts=1)
        queue.ack(claimed(queue))
        queue.release(claimed(queue), error="boom")
        claimed(queue)

        found, counts = only(observer), queue.counts()

    assert found.available.at_least == counts.available == 1
    assert found.claimed.at_least == counts.claimed == 1
    assert found.dead.at_least == counts.dead_letters == 1
    assert found.verdict is Verdict.FAILING


def claimed(queue: Queue) -> Claim:
    claim = queue.claim()
    assert claim is not None
    return claim


def test_bad_arguments_are_refused(observer: Observer) -> None:
    with pytest.raises(InvalidArgumentError, match="limit"):
        observer.queues(limit=0)
    with pytest.raises(InvalidArgumentError, match="named must be a text"):
        observer.queues(named=7)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="names must be a list"):
        observer.flows("orders")
    with pytest.raises(InvalidArgumentError, match="more than 200"):
        observer.flows(map(str, range(201)))
    with pytest.raises(InvalidArgumentError, match="what must be one of consumed"):
        observer.chart("orders", "eaten", HOUR)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="span must lie between"):
        observer.chart("orders", "pushed", SECOND)  # type: ignore[arg-type]


def test_without_our_schema_it_is_said_what_to_run(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    engine.connect().close()  # which makes the file
    observer = patient_observer(engine)

    for look in (
        observer.queues,
        observer.measures,
        observer.rights,
        lambda: observer.queue("a"),
        lambda: observer.flows(["a"]),
        lambda: observer.chart("a", Charted.PUSHED, HOUR),
    ):
        with pytest.raises(SchemaVersionError, match="xclaim upgrade"):
            look()
    engine.dispose()


def test_a_table_of_settings_that_is_missing_is_no_lack_of_rights(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE xclaim_queue")

    with pytest.raises(SchemaVersionError, match="xclaim upgrade"):
        patient_observer(engine).queues()

    engine.dispose()


@pytest.mark.parametrize("schema", ["mine", "of %s", 'a "b"', "a:now", "{table}", "<messages>"])
def test_a_schema_that_is_named_is_looked_at(empty_postgresql_url: str, schema: str) -> None:
    engine = create_engine(empty_postgresql_url)
    migrate.upgrade(engine, schema=schema)
    with Queue("orders", engine, schema=schema) as queue:
        queue.push(1)
    observer = patient_observer(engine, schema)

    (found,) = observer.queues()

    assert found.available == exactly(1)
    assert observer.queue("orders") is not None
    assert observer.rights("orders").refusals == {}
    assert observer.measures().queues[0].backlog == exactly(1)
    assert sum(observer.chart("orders", Charted.PUSHED, HOUR).values) == 1
    engine.dispose()


def test_what_others_put_into_the_search_path_is_not_called(fresh_postgresql_url: str) -> None:
    engine = create_engine(
        fresh_postgresql_url, connect_args={"options": "-c search_path=traps,public,pg_catalog"}
    )
    Queue("orders", engine).push(1)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA traps"))
        connection.execute(
            text(
                "CREATE FUNCTION traps.statement_timestamp() RETURNS timestamptz LANGUAGE plpgsql"
                " AS $$ BEGIN RAISE 'trapped'; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE FUNCTION traps.count(anyelement) RETURNS bigint LANGUAGE plpgsql"
                " AS $$ BEGIN RAISE 'trapped'; END $$"
            )
        )
    observer = patient_observer(engine)

    assert observer.queues()[0].available == exactly(1)
    assert observer.queue("orders") is not None
    observer.measures()
    observer.rights("orders")
    for what in Charted:
        observer.chart("orders", what, HOUR)
    engine.dispose()


def test_a_file_that_was_closed_is_looked_at_again(sqlite_url: str) -> None:
    engine = create_verb_engine(sqlite_url)
    Queue("orders", engine).push(1)

    for _ in range(2):
        assert patient_observer(engine).queues()[0].available == exactly(1)
        engine.dispose()
