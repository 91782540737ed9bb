"""Who may do what: each kind of role does its own job, on all queues or on one, and no other's."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.eventually import PATIENCE, until
from tests.people import People, people, refused
from tests.retrying import AT_ONCE
from xclaim import Claim, DuplicateMessageError, Payloads, Queue, Ticket, create_engine
from xclaim.operations import grants
from xclaim.operations.grants import Kind, plan
from xclaim.sql.schema import message_table
from xclaim.verbs import upkeep

NO_LEASE = timedelta(0)
COLUMNS = [column.name for column in message_table().c]
FOR_ALL_TIMES = ["id", "origin_queue", "payload", "headers", "unique_key", "priority", "created_at"]
HIDDEN = ["payload", "headers", "last_error"]
CONFIDENTIAL = [*HIDDEN, "failures"]  # which a maintainer adds to
INSERT = "INSERT INTO xclaim_message (queue, origin_queue, payload, created_at, available_at{}) "
VALUES = "VALUES ('orders', 'orders', '1', now(), now(){})"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("postgresql_server", ()), id="all queues"),
        pytest.param(("postgresql_server", ("orders",)), id="one queue"),
        pytest.param(("postgresql16_server", ("orders",)), id="one queue, 16"),
    ],
)
def granted(request: pytest.FixtureRequest) -> Iterator[People]:
    server, queues = request.param
    with people(request.getfixturevalue(server), None, queues) as all_of_them:
        yield all_of_them


@pytest.fixture
def office(granted: People) -> People:
    with granted.owner.begin() as connection:
        connection.execute(text("TRUNCATE xclaim_message"))
    return granted


def claimed(queue: Queue, **options: Any) -> Claim:
    claim = queue.claim(**options)
    assert claim is not None
    return claim


def test_a_producer_pushes(office: People) -> None:
    queue = office.queue("producer", notify=True)

    queue.push(1, priority=3, delay=NO_LEASE, max_attempts=2, headers={"dag_id": "d"})
    queue.push_many([2, 3])
    first = queue.push(4, unique_key="key", max_attempts=5)
    again = queue.push(4, unique_key="key", max_attempts=9)
    with pytest.raises(DuplicateMessageError):
        queue.push(5, unique_key="key")

    assert again == first
    assert queue.counts().available == 4
    assert [message.payload for message in queue.find(["key"])] == [4]


@pytest.mark.parametrize("payload", ["the same", "another"])
def test_two_producers_push_one_key_at_once(office: People, payload: str) -> None:
    engine = office.engines["producer"]

    with ThreadPoolExecutor(1) as pool, engine.begin() as connection:
        first = Queue("orders", connection).push("the same", unique_key="key", max_attempts=7)
        waiting = pool.submit(office.queue("producer").push, payload, unique_key="key")
        until(lambda: waits_for_a_lock(office))
        connection.commit()
        error = waiting.exception()

    assert isinstance(error, DuplicateMessageError) == (payload == "another")
    assert error is not None or waiting.result() == first


def waits_for_a_lock(office: People) -> bool:
    with office.owner.connect() as connection:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(connection.scalar(text(waiting)))


def test_a_producer_neither_claims_nor_settles_nor_deletes(office: People) -> None:
    office.owned().push_many([1, 2], unique_keys=["key", None])
    claim = claimed(office.owned())
    queue = office.queue("producer")

    for verb in (queue.claim, queue.expire, queue.redrive):
        with refused():
            verb()
    for settle in (queue.ack, queue.release, queue.extend):
        with refused():
            settle(claim)
    with refused():
        queue.prune(older_than=NO_LEASE)
    with refused():
        queue.withdraw(["key"])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT claim_token FROM xclaim_message",
        "SELECT * FROM xclaim_message",
        "UPDATE xclaim_message SET max_attempts = 1",
        "UPDATE xclaim_message SET status = status",
        "SELECT id FROM xclaim_message FOR UPDATE",
        "SELECT id FROM xclaim_message FOR KEY SHARE",
        "SELECT xclaim_delete('{1}', 'available')",
        "UPDATE xclaim_message SET attempts = 0",
        "UPDATE xclaim_message SET available_at = now()",
        "UPDATE xclaim_message SET payload = '1'",
        INSERT.format(", status, claimed_at") + VALUES.format(", 'claimed', now()"),
        INSERT.format(", attempts") + VALUES.format(", 1"),
        INSERT.format(", last_error") + VALUES.format(", 'x'"),
        "DELETE FROM xclaim_message",
        "TRUNCATE xclaim_message",
        "DROP TABLE xclaim_message",
        "UPDATE xclaim_alembic_version SET version_num = '9'",
        "SELECT * FROM xclaim_lineage",
        "SELECT * FROM xclaim_failures",
    ],
)
def test_a_producer_has_no_other_way_in(office: People, sql: str) -> None:
    office.owned().push(1)

    with refused():
        office.run("producer", sql)


def test_a_consumer_claims_and_settles(office: People) -> None:
    office.owned().push_many(list(range(6)))
    queue = office.queue("consumer", notify=True)

    queue.ack(claimed(queue))
    queue.ack_many(queue.claim_many(2))
    extended = queue.extend(claimed(queue, lease=NO_LEASE))
    queue.extend_many([extended])
    queue.release(extended, error="not yet", delay=NO_LEASE, count=False)
    with queue.consume() as claim:
        assert claim is not None
    streamed = [claim.payload for claim in queue.stream(batch=1)]

    assert len(streamed) == 2
    assert queue.counts().consumed == 6


def test_a_consumer_waits_and_is_woken(office: People) -> None:
    queue = office.queue("consumer")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.claim, wait=timedelta(seconds=PATIENCE))
        office.queue("producer", notify=True).push(1)
        claim = waiting.result()

    assert claim is not None


def test_a_consumer_takes_its_own_back_and_hands_it_on(office: People) -> None:
    office.owned().push(1)
    queue = office.queue("consumer")

    claimed(queue, claim_key="task", claimed_by="try 1")
    again = claimed(queue, claim_key="task", claimed_by="try 2")
    (resumed,) = queue.resume(Ticket.of([again]), claim_key="worker", claimed_by="other")
    queue.ack(resumed)

    assert resumed.message.id == again.message.id
    assert queue.counts().consumed == 1


def test_a_consumers_writes_commit_with_its_ack(office: People) -> None:
    with office.owner.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS parcel (payload jsonb)"))
        connection.execute(text("GRANT INSERT ON parcel TO PUBLIC"))
    office.owned().push(1)

    with office.queue("consumer").transact() as (claim, connection):
        assert claim is not None
        connection.execute(text("INSERT INTO parcel VALUES ('1')"))

    assert office.owned().counts().consumed == 1


def test_a_consumer_makes_dead_letters_of_what_it_cannot_do(office: People) -> None:
    office.owned().push_many([1, 2], max_attempts=1)
    queue = office.queue("consumer")

    released = queue.release(claimed(queue), error="broken")
    claimed(queue, lease=NO_LEASE)
    expired = queue.expire()

    assert released.queue == "orders.dead"
    assert expired == 1
    assert queue.counts().dead_letters == 2


def test_a_consumer_gives_lapsed_claims_back_on_its_way(office: People) -> None:
    office.owned().push(1)
    claimed(office.owned(), lease=NO_LEASE)

    again = claimed(office.queue("consumer", retry=AT_ONCE))

    assert again.message.attempts == 2


def test_a_consumer_neither_pushes_nor_deletes(office: People) -> None:
    office.owned().push(1, unique_key="key")
    queue = office.queue("consumer")
    office.owned().ack(claimed(office.owned()))

    with refused():
        queue.push(2)
    with refused():
        queue.push(2, unique_key="other")
    with refused():
        queue.prune(older_than=NO_LEASE)
    with refused():
        queue.withdraw(["key"])
    with refused():
        office.run("consumer", "TRUNCATE xclaim_message")


@pytest.mark.parametrize("who", [*Kind, "reader"])
@pytest.mark.parametrize("column", FOR_ALL_TIMES)
def test_nobody_changes_what_was_pushed(office: People, who: str, column: str) -> None:
    office.owned().push(1)

    with refused():
        office.run(who, f"UPDATE xclaim_message SET {column} = DEFAULT")


def test_an_observer_counts(office: People) -> None:
    office.owned().push_many([1, 2])
    queue = office.queue("observer")

    stats = office.run("observer", "SELECT queue, available FROM xclaim_queue_stats")
    overview = office.run("observer", "SELECT * FROM xclaim_overview ORDER BY id")

    assert queue.counts().available == 2
    assert queue.newest_available_at() is not None
    assert stats == [("orders", 2)]
    assert [row.status for row in overview] == ["available", "available"]
    assert set(overview[0]._fields) == {*COLUMNS} - {*CONFIDENTIAL, "claim_token"}
    assert office.run("observer", "SELECT version_num FROM xclaim_alembic_version")


def test_an_observer_sees_what_fails_and_who_holds_what(office: People) -> None:
    owned = office.owned()
    for limit in (2, 1):
        owned.push(limit, max_attempts=limit)
        owned.release(claimed(owned), error=ValueError("secret"), delay=timedelta(hours=1))
    owned.push("held")
    claimed(owned)

    failing = office.run("observer", "SELECT error_class, attempts FROM xclaim_failing")
    dead = office.run("observer", "SELECT error_class, messages FROM xclaim_dead_letters")
    held = office.run("observer", "SELECT id, claimed_by, attempts FROM xclaim_overview")

    assert failing == [("ValueError", 1)]
    assert dead == [("ValueError", 1)]
    assert len(held) == 3
    with refused():
        office.run("observer", "SELECT * FROM xclaim_failures")
    assert {row.error for row in office.run("reader", "SELECT error FROM xclaim_failures")} == {
        "ValueError: secret"
    }


def test_a_maintainer_redrives_by_the_class_of_an_error_but_not_by_its_text(
    office: People,
) -> None:
    owned = office.owned()
    owned.push_many([1, 2], max_attempts=1)
    for error in (ValueError("secret"), "TypeError"):
        owned.release(claimed(owned), error=error)
    queue = office.queue("maintainer")

    assert queue.redrive(error="secret", dry_run=True) == 0
    assert owned.redrive(error="secret", dry_run=True) == 1
    assert queue.redrive(error="ValueError") == 1
    assert queue.redrive(error="TypeError") == 0


@pytest.mark.parametrize("who", ["observer", "maintainer"])
@pytest.mark.parametrize(
    "sql",
    [
        *[f"SELECT {column} FROM xclaim_message" for column in (*HIDDEN, "claim_token")],
        "SELECT * FROM xclaim_message",
        "SELECT xclaim_message FROM xclaim_message",
        "SELECT count(*) FROM xclaim_message WHERE payload = '1'",
        "SELECT id FROM xclaim_message ORDER BY payload",
        "SELECT * FROM xclaim_lineage",
        "COPY xclaim_message TO STDOUT",
    ],
)
def test_who_looks_after_a_queue_reads_no_payloads(office: People, who: str, sql: str) -> None:
    office.owned().push(1)

    with refused():
        office.run(who, sql)


def test_an_observer_may_be_shown_payloads_but_no_tokens(office: People) -> None:
    office.owned().push({"id": 1}, headers={"dag_id": "d"})
    queue = office.queue("reader")

    assert queue.peek()[0].payload == {"id": 1}
    assert office.run("reader", "SELECT producer_dag_id FROM xclaim_lineage") == [("d",)]
    with refused():
        office.run("reader", "SELECT claim_token FROM xclaim_message")


@pytest.mark.parametrize("who", ["observer", "reader"])
def test_an_observer_changes_nothing(office: People, who: str) -> None:
    office.owned().push_many([1, 2], unique_keys=["key", None])
    claim = claimed(office.owned())
    queue = office.queue(who)

    verbs: list[Any] = [lambda: queue.push(2), lambda: queue.push(2, unique_key="other")]
    verbs += [queue.claim, queue.expire, queue.redrive, lambda: queue.prune(older_than=NO_LEASE)]
    verbs += [lambda: queue.ack(claim), lambda: queue.release(claim), lambda: queue.extend(claim)]
    verbs += [lambda: queue.withdraw(["key"])]
    for verb in verbs:
        with refused():
            verb()
    for sql in ("SELECT id FROM xclaim_message FOR UPDATE", "DELETE FROM xclaim_overview"):
        with refused():
            office.run(who, sql)


def test_a_maintainer_expires_redrives_prunes_and_withdraws(office: People) -> None:
    owned, queue = office.owned(), office.queue("maintainer", notify=True)
    owned.push_many([1, 2, 3], unique_keys=["a", "b", "c"], max_attempts=1)
    owned.ack(claimed(owned))
    claimed(owned, lease=NO_LEASE)

    assert queue.expire() == 1
    assert queue.counts().dead_letters == 1
    assert queue.redrive() == 1
    assert queue.prune(older_than=NO_LEASE) == 1
    assert queue.withdraw(["a", "b", "c"]) == 2
    assert office.run("maintainer", "SELECT * FROM xclaim_queue_stats") == []


def test_a_maintainer_withdraws_by_id_and_prunes_in_batches(
    office: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 2)
    owned, queue = office.owned(), office.queue("maintainer")
    owned.push_many([1, 2, 3, 4, 5])
    owned.ack_many(owned.claim_many(5))
    waiting = owned.push_many([6, 7])
    held = claimed(owned)

    assert queue.prune(older_than=NO_LEASE, dry_run=True) == 5
    assert queue.prune(older_than=NO_LEASE, limit=3) == 3
    assert queue.prune(older_than=NO_LEASE) == 2
    assert queue.withdraw(ids=[message.id for message in waiting]) == 1
    owned.ack(held)


def test_a_maintainer_who_may_read_payloads_prunes_beside_a_storage(
    office: People, tmp_path: Path
) -> None:
    payloads = Payloads(storage=tmp_path.as_uri(), threshold=1_000)
    role = office.engines["maintainer"].url.username or ""
    owned = Queue("orders", office.owner, payloads=payloads)
    owned.push("a" * 2_000, unique_key="key")
    owned.push("b" * 2_000)
    owned.ack(claimed(owned))
    owned.push("c" * 2_000, unique_key="other")

    with office.owner.connect() as connection:
        plan(connection, "maintainer", role, payloads=True).apply(connection)
        connection.execute(text(f"SET LOCAL ROLE {role}"))
        queue = Queue("orders", connection, payloads=payloads)
        pruned = queue.prune(older_than=NO_LEASE)
        withdrawn = queue.withdraw(["other"])
        connection.rollback()

    assert (pruned, withdrawn) == (1, 1)


def test_a_maintainer_neither_pushes_nor_claims(office: People) -> None:
    office.owned().push_many([1, 2])
    claim = claimed(office.owned())
    queue = office.queue("maintainer")

    for verb in (lambda: queue.push(1), queue.claim, queue.peek):
        with refused():
            verb()
    for settle in (queue.ack, queue.release, queue.extend):
        with refused():
            settle(claim)
    with refused():
        office.run("maintainer", "UPDATE xclaim_message SET consumed_at = now()")


@pytest.mark.parametrize("who", [*Kind, "reader"])
def test_nobody_can_give_rights_or_change_the_table(office: People, who: str) -> None:
    for sql in (
        "ALTER TABLE xclaim_message DISABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON xclaim_message USING (true)",
        "DROP VIEW xclaim_overview",
        "CREATE INDEX mine ON xclaim_message (queue)",
    ):
        with refused():
            office.run(who, sql)


@pytest.mark.parametrize(
    "name",
    ["x" * 200, 'it\'s "q" -- %s', "back\\slash", "a.DEAD", "*?[a]", "Å", "A\u030a"],
    ids=ascii,
)
def test_a_consumer_of_a_queue_of_any_name_has_that_one_and_its_dead_letters(
    fresh_postgresql_url: str, name: str
) -> None:
    engine = create_engine(fresh_postgresql_url)
    for each in (name, f"{name[:150]} not this"):
        Queue(each, engine).push("poison", max_attempts=1)
    role = f"names_{secrets.token_hex(4)}"
    with engine.begin() as connection:
        grants.plan(connection, "consumer", role, queues=[name]).apply(connection)
        connection.execute(text(f"SET LOCAL ROLE {role}"))

        claimed = Queue(name, connection).claim()
        assert claimed is not None
        died = Queue(name, connection).release(claimed, error="boom")
        others = connection.scalar(text("SELECT count(*) FROM xclaim_message"))

        connection.execute(text("RESET ROLE"))
        assert died.queue == f"{name}.dead"
        assert others == 1
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))
    engine.dispose()
