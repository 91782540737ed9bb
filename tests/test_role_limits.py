"""What a role can and cannot do with SQL of its own: what docs/security.md says, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from tests.eventually import PATIENCE, until
from tests.people import People, member, people, refused
from xclaim import Claim, Queue, QueueFullError
from xclaim.operations import migrate
from xclaim.operations.audit import audit
from xclaim.operations.grants import Kind, plan
from xclaim.operations.migrate import _LOCK as LOCK_OF_MIGRATIONS
from xclaim.sql.schema import queue_table

NO_LEASE = timedelta(0)
HOUR = timedelta(hours=1)
TAKE_BACK = (
    "UPDATE xclaim_message SET status = 'available', consumed_at = NULL, consumed_by = NULL,"
    " claimed_at = NULL"
)
LOCK_MODES = [
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
]
EVERYBODY = [*Kind, "reader"]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("postgresql_server", ("orders",)), id="one queue"),
        pytest.param(("postgresql_server", ()), id="all queues"),
        pytest.param(("postgresql16_server", ("orders",)), id="one queue, 16"),
    ],
)
def server(request: pytest.FixtureRequest) -> tuple[str, tuple[str, ...]]:
    name, queues = request.param
    return request.getfixturevalue(name), queues


@pytest.fixture(scope="module")
def granted(server: tuple[str, tuple[str, ...]]) -> Iterator[People]:
    url, queues = server
    with people(url, None, queues) as all_of_them:
        yield all_of_them


@pytest.fixture
def office(granted: People) -> People:
    with granted.owner.begin() as connection:
        connection.execute(text("TRUNCATE xclaim_message, xclaim_queue, xclaim_slot"))
    return granted


@pytest.fixture(scope="module", params=["postgresql_server", "postgresql16_server"])
def limited_server(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def limited_to_orders(limited_server: str) -> Iterator[People]:
    with people(limited_server, None, ("orders",)) as all_of_them:
        yield all_of_them


@pytest.fixture(scope="module")
def limited_to_invoices(limited_to_orders: People) -> Iterator[dict[str, str]]:
    """Roles of each kind in the same database, limited to the queue of others, by their kind."""
    owner = limited_to_orders.owner
    roles = {kind: f"{limited_to_orders.engines[kind].url.username}_i" for kind in Kind}
    with owner.begin() as connection:
        for kind, role in roles.items():
            plan(connection, kind, role, queues=["invoices"]).apply(connection)
    yield {str(kind): role for kind, role in roles.items()}
    with owner.begin() as connection:
        for role in roles.values():
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))


@pytest.fixture
def both(limited_to_orders: People) -> People:
    with limited_to_orders.owner.begin() as connection:
        connection.execute(text("TRUNCATE xclaim_message"))
    return limited_to_orders


def claimed(queue: Queue, **options: Any) -> Claim:
    claim = queue.claim(**options)
    assert claim is not None
    return claim


def consumed(queue: Queue, **options: Any) -> int:
    """Push a message and consume it; return its id."""
    id_: int = queue.push(1, **options).id
    queue.ack(claimed(queue))
    return id_


def role_of(office: People, who: str) -> str:
    return str(office.engines[who].url.username)


def run(engine: Engine, sql: str) -> Any:
    with engine.begin() as connection:
        result = connection.execute(text(sql))
        return result.all() if result.returns_rows else result.rowcount


# The consumer.


def test_a_consumer_takes_nothing_back_that_was_consumed(office: People) -> None:
    consumed(office.owned())

    changed = office.run("consumer", TAKE_BACK)

    assert changed == 0
    assert office.owned().counts().consumed == 1


@pytest.mark.parametrize(
    "change",
    [
        "consumed_by = 'somebody else'",
        "consumed_at = now() - interval '1 year'",
        "attempts = 0",
        "last_error = 'none of mine'",
        "failures = NULL",
        "queue = 'orders.dead'",
        "claimed_at = now()",
    ],
)
@pytest.mark.parametrize("who", ["consumer", "maintainer"])
def test_nobody_rewrites_what_was_consumed(office: People, who: str, change: str) -> None:
    consumed(office.owned())
    before = run(office.owner, "SELECT to_jsonb(m) FROM xclaim_message AS m")

    with suppress(ProgrammingError):  # for want of the column's right
        assert office.run(who, f"UPDATE xclaim_message SET {change}") == 0

    assert run(office.owner, "SELECT to_jsonb(m) FROM xclaim_message AS m") == before


def test_a_consumer_locks_nothing_that_was_consumed(office: People) -> None:
    consumed(office.owned())

    assert office.run("consumer", "SELECT id FROM xclaim_message FOR UPDATE") == []


def test_a_consumer_changes_no_limit_and_no_codec(office: People) -> None:
    office.owned().push(1)

    for change in ("max_attempts = 100", "max_attempts = NULL", "codec = 'arrow'"):
        with refused():
            office.run("consumer", f"UPDATE xclaim_message SET {change}")


def test_a_consumer_can_settle_what_another_consumer_claimed(office: People) -> None:
    office.owned().push(1)
    claimed(office.owned(), claimed_by="another")

    tokens = office.run("consumer", "SELECT claim_token FROM xclaim_message")
    stolen = office.run(
        "consumer",
        "UPDATE xclaim_message SET status = 'available', claim_token = NULL, claimed_by = NULL,"
        " claim_expires_at = NULL, claimed_at = NULL, claim_key = NULL",
    )

    assert isinstance(tokens[0].claim_token, UUID)
    assert stolen == 1


def test_a_consumer_can_count_attempts_down(office: People) -> None:
    office.owned().push(1)
    office.owned().release(claimed(office.owned()), error="failed", delay=NO_LEASE)

    assert office.run("consumer", "UPDATE xclaim_message SET attempts = 0, failures = NULL") == 1


def test_a_consumer_can_say_that_another_consumed(office: People) -> None:
    office.owned().push(1)

    said = office.run(
        "consumer",
        "UPDATE xclaim_message SET status = 'consumed', consumed_at = now(), claimed_at = now(),"
        " consumed_by = 'another'",
    )

    assert said == 1


def test_a_consumer_can_hold_a_message_for_ever(office: People) -> None:
    """By a claim without an end of its lease, which no CHECK refuses: the audit names it."""
    owner = office.owned()
    held = owner.push(1)

    written = office.run(
        "consumer",
        "UPDATE xclaim_message SET status = 'claimed', claim_token = gen_random_uuid(),"
        " claimed_by = 'me', claimed_at = now(), attempts = 1",
    )

    assert written == 1
    assert not owner.expire()
    assert owner.claim() is None
    (broken,) = [each for each in audit(office.owner).checks if each.broken]
    assert broken.examples == [f"message {held.id} in {owner.name!r}"]
    with office.owner.begin() as connection:
        connection.execute(text(str(broken.remedy)), {"id": held.id})
    owner.expire()
    assert owner.counts().claimed == 0


def test_a_consumer_can_lock_the_messages_of_its_queue(office: People) -> None:
    office.owned().push(1)

    with office.engines["consumer"].begin() as connection:
        connection.execute(text("SELECT id FROM xclaim_message FOR UPDATE"))
        assert office.owned().claim() is None

    assert office.owned().claim() is not None


# The producer.


@pytest.mark.parametrize("state", ["available", "claimed", "consumed"])
def test_a_producer_updates_and_locks_nothing(office: People, state: str) -> None:
    owned = office.owned()
    if state == "consumed":
        consumed(owned, unique_key="key")
    else:
        owned.push(1, unique_key="key")
    if state == "claimed":
        claimed(owned)

    for column in ("status", "max_attempts", "available_at", "payload", "attempts", "queue"):
        with refused():
            office.run("producer", f"UPDATE xclaim_message SET {column} = {column}")
    for strength in ("UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"):
        with refused():
            office.run("producer", f"SELECT id FROM xclaim_message FOR {strength}")
    with refused():
        office.run(
            "producer",
            "INSERT INTO xclaim_message (queue, origin_queue, payload, unique_key, created_at,"
            " available_at) VALUES ('orders', 'orders', '2', 'key', now(), now())"
            " ON CONFLICT (origin_queue, unique_key) WHERE unique_key IS NOT NULL"
            " DO UPDATE SET payload = excluded.payload",
        )


def test_a_producer_makes_no_dead_letter(office: People) -> None:
    with refused():
        office.run(
            "producer",
            "INSERT INTO xclaim_message (queue, origin_queue, payload, created_at, available_at)"
            " VALUES ('orders.dead', 'orders', '1', now(), now())",
        )


@pytest.mark.parametrize("column", ["payload", "headers"])
def test_a_producer_pushes_no_text_that_is_much_longer_than_its_row(
    office: People, column: str
) -> None:
    long = "[" + ",".join(["1e131071"] * 2_200) + "]"  # 20 KB here, and 275 MB where it is read
    values = {"payload": "'1'", "headers": "'{}'"} | {column: f"'{long}'"}

    with refused():
        office.run(
            "producer",
            "INSERT INTO xclaim_message (queue, origin_queue, created_at, available_at, payload,"
            f" headers) VALUES ('orders', 'orders', now(), now(), {values['payload']},"
            f" {values['headers']})",
        )


def test_a_producer_chooses_no_id(office: People) -> None:
    with refused():
        office.run(
            "producer",
            "INSERT INTO xclaim_message (id, queue, origin_queue, payload, created_at,"
            " available_at) OVERRIDING SYSTEM VALUE VALUES (1, 'orders', 'orders', '1', now(),"
            " now())",
        )


def test_a_producer_can_read_what_others_pushed_and_its_errors(office: People) -> None:
    office.owned().push({"card": 1})
    office.owned().release(claimed(office.owned()), error="secret")

    rows = office.run("producer", "SELECT payload, last_error FROM xclaim_message")

    assert rows == [({"card": 1}, "secret")]


def test_a_producer_can_write_times_of_its_own(office: People) -> None:
    office.run(
        "producer",
        "INSERT INTO xclaim_message (queue, origin_queue, payload, created_at, available_at)"
        " VALUES ('orders', 'orders', '1', '2000-01-01', '2000-01-01')",
    )

    assert office.owned().counts().available == 1


# The maintainer.


@pytest.mark.parametrize("mode", LOCK_MODES)
@pytest.mark.parametrize("who", EVERYBODY)
def test_no_role_can_lock_the_table(office: People, who: str, mode: str) -> None:
    with refused():
        office.run(who, f"LOCK TABLE xclaim_message IN {mode} MODE NOWAIT")


@pytest.mark.parametrize("who", EVERYBODY)
def test_no_role_has_a_right_on_the_whole_table(office: People, who: str) -> None:
    with office.owner.connect() as connection:
        has = "has_table_privilege(:role, 'xclaim_message', :right)"
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
            asked = {"role": role_of(office, who), "right": right}
            assert connection.scalar(text(f"SELECT {has}"), asked) is False, right


def test_a_maintainer_takes_no_claim_away_before_its_lease_ends(office: People) -> None:
    office.owned().push(1)
    held = claimed(office.owned())

    changed = office.run(
        "maintainer",
        "UPDATE xclaim_message SET status = 'available', claim_token = NULL, claimed_by = NULL,"
        " claim_expires_at = NULL, claimed_at = NULL, claim_key = NULL",
    )

    assert changed == 0
    office.owned().ack(held)


def test_a_maintainer_leaves_alone_what_waits_in_the_queue(office: People) -> None:
    office.owned().push(1)

    for change in ("attempts = 0", "available_at = 'infinity'", "queue = 'orders.dead'"):
        assert office.run("maintainer", f"UPDATE xclaim_message SET {change}") == 0


@pytest.mark.parametrize("status", ["claimed", "available", "consumed"])
def test_a_maintainer_deletes_no_claim(office: People, status: str) -> None:
    id_ = office.owned().push(1).id
    held = claimed(office.owned(), lease=NO_LEASE)

    deleted = office.run("maintainer", f"SELECT xclaim_delete('{{{id_}}}', '{status}')")

    assert deleted == [([],)]
    office.owned().ack(held)


def test_a_maintainer_can_delete_whatever_nobody_has_claimed(office: People) -> None:
    ids = [consumed(office.owned()), office.owned().push(2).id]

    for id_, status in zip(ids, ["consumed", "available"], strict=True):
        deleted = office.run("maintainer", f"SELECT xclaim_delete('{{{id_}}}', '{status}')")
        assert deleted == [([id_],)]


def test_a_maintainer_can_count_the_attempts_of_dead_letters_down(office: People) -> None:
    office.owned().push(1, max_attempts=1)
    office.owned().release(claimed(office.owned()), error="dead")

    assert office.run("maintainer", "UPDATE xclaim_message SET attempts = 0") == 1


@pytest.mark.parametrize("who", ["producer", "consumer", "observer", "reader"])
def test_only_a_maintainer_deletes(office: People, who: str) -> None:
    consumed(office.owned())

    with refused():
        office.run(who, "SELECT xclaim_delete('{1}', 'consumed')")
    with refused():
        office.run(who, "DELETE FROM xclaim_message")


def test_by_which_role_a_session_deletes_is_that_which_it_has_taken(office: People) -> None:
    ids = [consumed(Queue(name, office.owner)) for name in ("orders", "invoices")]
    observer, maintainer = role_of(office, "observer"), role_of(office, "maintainer")

    with office.owner.begin() as connection:
        connection.execute(text(f"SET LOCAL ROLE {maintainer}"))
        gone = connection.scalar(text("SELECT xclaim_delete(:ids, 'consumed')"), {"ids": ids[:1]})
        connection.execute(text(f"SET LOCAL ROLE {observer}"))
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text("SELECT xclaim_delete(:ids, 'consumed')"), {"ids": ids[1:]})

    assert gone == ids[:1]


def set_a_trap(office: People, id_: int) -> None:
    """Let the maintainer have a function that deletes a message in the session of anybody else."""
    maintainer = role_of(office, "maintainer")
    trap = (
        "CREATE FUNCTION bait.trap(place integer) RETURNS integer IMMUTABLE"
        " SECURITY DEFINER LANGUAGE plpgsql"
        f" AS $$ BEGIN IF session_user <> '{maintainer}' AND place > 1"
        f" THEN PERFORM public.xclaim_delete(ARRAY[{id_}], 'consumed'); END IF;"
        " RETURN place; EXCEPTION WHEN insufficient_privilege THEN RETURN place; END $$"
    )
    with office.owner.begin() as connection:
        for statement in (
            f"CREATE SCHEMA bait AUTHORIZATION {maintainer}",
            f"SET LOCAL ROLE {maintainer}",
            "GRANT USAGE ON SCHEMA bait TO PUBLIC",
            trap,
            "CREATE TABLE bait.bait AS SELECT 1 AS place",
            "CREATE INDEX ON bait.bait (bait.trap(place))",
        ):
            connection.execute(text(statement))


def test_a_superuser_who_analyses_the_table_of_a_maintainer_deletes_nothing_by_it(
    office: People,
) -> None:
    id_ = consumed(office.owned("invoices"))
    set_a_trap(office, id_)
    office.run("maintainer", "INSERT INTO bait.bait VALUES (2)")

    with office.owner.begin() as connection:
        connection.execute(text("ANALYZE bait.bait"))
        connection.execute(text("DROP SCHEMA bait CASCADE"))

    assert office.owned("invoices").get(id_) is not None


def test_a_schema_of_ones_own_changes_nothing_of_what_deletes(
    office: People, server: tuple[str, tuple[str, ...]]
) -> None:
    id_ = consumed(office.owned("invoices"))
    url = office.engines["maintainer"].url.set(drivername="postgresql")

    with closing(psycopg.connect(url.render_as_string(False), autocommit=True)) as connection:
        connection.execute("CREATE TEMP TABLE pg_policy AS SELECT * FROM pg_catalog.pg_policy")
        connection.execute("UPDATE pg_temp.pg_policy SET polqual = NULL")
        connection.execute("CREATE TEMP TABLE xclaim_message (id bigint, status text)")
        connection.execute("SET search_path = pg_temp, public")
        (deleted,) = connection.execute(
            "SELECT public.xclaim_delete(ARRAY[%s::bigint], 'consumed')", [id_]
        ).fetchall()

    is_of_one_queue = bool(server[1])
    assert deleted == ([] if is_of_one_queue else [id_],)


# Roles together.


def test_who_consumes_one_queue_and_produces_another_does_not_consume_that(
    limited_server: str, both: People, limited_to_invoices: dict[str, str]
) -> None:
    invoices = both.owned("invoices")
    invoices.push("theirs", unique_key="key")
    held = claimed(invoices, lease=NO_LEASE)
    invoices.push("theirs too")
    roles = role_of(both, "consumer"), limited_to_invoices["producer"]

    with member(limited_server, both, *roles) as pipe:
        both.owned().push(1)
        Queue("orders", pipe).ack(claimed(Queue("orders", pipe)))
        again = Queue("invoices", pipe).push("theirs", unique_key="key")
        taken = Queue("invoices", pipe).claim()
        expired = Queue("invoices", pipe).expire()
        changed = run(pipe, "UPDATE xclaim_message SET claimed_by = 'me' WHERE queue <> 'orders'")
        locked = run(pipe, "SELECT id FROM xclaim_message WHERE queue <> 'orders' FOR UPDATE")

    assert again.id == held.message.id
    assert (taken, expired, changed, locked) == (None, 0, 0, [])


def test_who_consumes_one_queue_and_produces_another_can_see_the_tokens_there(
    limited_server: str, both: People, limited_to_invoices: dict[str, str]
) -> None:
    both.owned("invoices").push("theirs")
    held = claimed(both.owned("invoices"))
    roles = role_of(both, "consumer"), limited_to_invoices["producer"]

    with member(limited_server, both, *roles) as pipe:
        tokens = run(pipe, "SELECT claim_token FROM xclaim_message")

    assert tokens == [(held.token,)]


def test_who_consumes_one_queue_and_observes_another_can_read_its_payloads(
    limited_server: str, both: People, limited_to_invoices: dict[str, str]
) -> None:
    both.owned("invoices").push("theirs")
    roles = role_of(both, "consumer"), limited_to_invoices["observer"]

    with member(limited_server, both, *roles) as pipe:
        payloads = run(pipe, "SELECT payload FROM xclaim_message")

    assert payloads == [("theirs",)]


@pytest.mark.parametrize("queue", ["orders", "invoices"])
def test_who_has_every_kind_of_role_takes_nothing_back_that_was_consumed(
    limited_server: str, both: People, limited_to_invoices: dict[str, str], queue: str
) -> None:
    consumed(both.owned(queue))
    roles = [*(role_of(both, kind) for kind in Kind), *limited_to_invoices.values()]

    with member(limited_server, both, *roles) as engine:
        taken_back = run(engine, TAKE_BACK)
        rewritten = run(engine, "UPDATE xclaim_message SET consumed_by = 'me'")

    assert (taken_back, rewritten) == (0, 0)


def test_who_maintains_one_queue_and_consumes_another_can_move_its_dead_letters_there(
    limited_server: str, both: People, limited_to_invoices: dict[str, str]
) -> None:
    both.owned("invoices").push("theirs", max_attempts=1)
    both.owned("invoices").release(claimed(both.owned("invoices")), error="dead")
    roles = role_of(both, "consumer"), limited_to_invoices["maintainer"]

    with member(limited_server, both, *roles) as engine:
        moved = run(engine, "UPDATE xclaim_message SET queue = 'orders'")

    assert moved == 1


def test_another_maintainer_who_calls_the_function_of_a_maintainer_deletes_by_it(
    limited_server: str, both: People, limited_to_invoices: dict[str, str]
) -> None:
    id_ = consumed(both.owned("invoices"))
    set_a_trap(both, id_)

    with member(limited_server, both, limited_to_invoices["maintainer"]) as other:
        run(other, "SELECT bait.trap(2)")

    assert both.owned("invoices").get(id_) is None
    run(both.owner, "DROP SCHEMA bait CASCADE")


# Whoever may connect.


def test_who_has_no_role_reads_nothing(limited_server: str, both: People) -> None:
    with member(limited_server, both) as stranger:
        for sql in (
            "SELECT id FROM xclaim_message",
            "SELECT * FROM xclaim_queue_stats",
            "SELECT version_num FROM xclaim_alembic_version",
            "SELECT xclaim_delete('{1}', 'consumed')",
        ):
            with refused():
                run(stranger, sql)


def test_who_has_no_role_can_listen_and_learns_names_of_queues(
    limited_server: str, both: People
) -> None:
    with member(limited_server, both) as stranger:
        url = make_url(stranger.url).set(drivername="postgresql").render_as_string(False)
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute("LISTEN xclaim")
            both.queue("producer", notify=True).push({"card": 1})
            (heard,) = connection.notifies(timeout=60, stop_after=1)

    assert heard.payload == "orders"


def test_who_has_no_role_can_notify_and_claims_nothing_by_it(
    limited_server: str, both: People
) -> None:
    with member(limited_server, both) as stranger:
        assert run(stranger, "SELECT pg_notify('xclaim', 'orders')")

    assert both.queue("consumer").claim() is None


def test_who_has_no_role_can_make_an_upgrade_wait_and_nothing_else(
    limited_server: str, both: People
) -> None:
    both.owned().push(1)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with member(limited_server, both) as stranger, ThreadPoolExecutor(1) as pool:
        with stranger.begin() as connection:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_OF_MIGRATIONS})"))
            upgrade = pool.submit(migrate.upgrade, both.owner)
            until(lambda: run(both.owner, waiting)[0][0])

            consumer = both.queue("consumer")
            consumer.ack(claimed(consumer))
            assert not upgrade.done()

        upgrade.result(PATIENCE)


def test_statuses_of_a_message_hold_for_everybody_who_writes(office: People) -> None:
    office.owned().push(1)

    with pytest.raises(IntegrityError):
        office.run("consumer", "UPDATE xclaim_message SET status = 'consumed'")


# Settings of queues.


def test_everybody_with_a_role_knows_whether_the_queue_is_paused(office: People) -> None:
    pause = office.owned().pause(reason="why", by="ann")

    for who in EVERYBODY:
        assert office.queue(who).paused() == pause


def test_a_maintainer_pauses_and_unpauses(office: People) -> None:
    office.owned().push(1)

    office.queue("maintainer").pause(reason="why")
    assert office.queue("consumer").claim() is None
    assert office.queue("maintainer").unpause() is True
    letters = office.queue("maintainer", "orders.dead").pause()

    assert office.queue("consumer").claim() is not None
    assert office.queue("consumer", "orders.dead").paused() == letters


@pytest.mark.parametrize("who", ["producer", "consumer", "observer", "reader"])
def test_only_a_maintainer_pauses(office: People, who: str) -> None:
    office.owned().pause()

    with refused():
        office.queue(who).pause()
    with refused():
        office.queue(who).unpause()
    for change in ("UPDATE xclaim_queue SET paused_at = NULL", "DELETE FROM xclaim_queue"):
        with refused():
            office.run(who, change)


@pytest.mark.parametrize("who", ["producer", "consumer", "observer", "reader"])
def test_only_a_maintainer_sets_a_limit(office: People, who: str) -> None:
    office.queue("maintainer").limit_backlog(max_backlog=1)

    with refused():
        office.queue(who).limit_backlog(max_backlog=None)
    with refused():
        office.run(who, "UPDATE xclaim_queue SET max_backlog = NULL, on_full = NULL")
    producer = office.queue("producer")
    producer.push(1, on_full="wait")  # it may still know of the messages of another test
    with pytest.raises(QueueFullError):
        producer.push(2)


def test_a_maintainer_deletes_and_renames_no_setting(office: People) -> None:
    office.owned().pause()

    for change in ("UPDATE xclaim_queue SET queue = 'invoices'", "DELETE FROM xclaim_queue"):
        with refused():
            office.run("maintainer", change)


def test_the_settings_of_another_queue_are_neither_seen_nor_changed(
    office: People, server: tuple[str, tuple[str, ...]]
) -> None:
    _, queues = server
    theirs = office.owned("invoices").pause(reason="not for everybody")

    if not queues:
        assert office.queue("consumer", "invoices").paused() == theirs
        return
    for who in EVERYBODY:
        assert office.queue(who, "invoices").paused() is None
        assert office.run(who, "SELECT queue FROM xclaim_queue WHERE queue = 'invoices'") == []
    with refused():
        office.queue("maintainer", "invoices").pause()
    with refused():
        office.queue("maintainer", "parcels").pause()
    assert office.queue("maintainer", "invoices").unpause() is False
    assert office.owned("invoices").paused() == theirs


@pytest.mark.parametrize("mode", LOCK_MODES)
@pytest.mark.parametrize("who", EVERYBODY)
def test_no_role_can_lock_the_settings(office: People, who: str, mode: str) -> None:
    with refused():
        office.run(who, f"LOCK TABLE xclaim_queue IN {mode} MODE NOWAIT")


def test_a_consumer_without_a_right_on_the_settings_is_told_so(office: People) -> None:
    office.owned().push(1)
    office.queue("consumer").expire()  # so that its next claim looks from the head
    consumer = role_of(office, "consumer")
    columns = ", ".join(queue_table().c.keys())
    with office.owner.begin() as connection:
        connection.execute(text(f"REVOKE SELECT ({columns}) ON xclaim_queue FROM {consumer}"))

    try:
        with refused():
            office.queue("consumer").claim()
    finally:
        with office.owner.begin() as connection:
            connection.execute(text(f"GRANT SELECT ({columns}) ON xclaim_queue TO {consumer}"))


def test_a_consumer_claims_within_the_limits_that_a_maintainer_has_set(office: People) -> None:
    office.owned().push_many(range(5))

    limits = office.queue("maintainer").limit(
        concurrency=2, rate=3, per=timedelta(hours=1), burst=3
    )

    assert office.queue("consumer").limits() == limits
    held = office.queue("consumer").claim_many(5)
    assert len(held) == 2
    office.queue("consumer").ack_many(held)
    assert len(office.queue("consumer").claim_many(5)) == 1
    office.queue("maintainer").limit()
    until(lambda: len(office.queue("consumer").claim_many(5)) == 2)  # it asks once a second


@pytest.mark.parametrize("who", ["producer", "consumer", "observer", "reader"])
def test_only_a_maintainer_limits(office: People, who: str) -> None:
    office.owned().limit(concurrency=1)

    with refused():
        office.queue(who).limit()
    for change in (
        "UPDATE xclaim_queue SET concurrency = NULL",
        "INSERT INTO xclaim_slot (queue, kind, slot) VALUES ('orders', 'concurrency', 7)",
        "DELETE FROM xclaim_slot",
    ):
        with refused():
            office.run(who, change)


def test_a_consumer_can_free_the_slots_of_its_queue(office: People) -> None:
    office.owned().push_many([1, 2])
    office.owned().limit(rate=1, per=timedelta(hours=1))
    assert office.queue("consumer").claim() is not None

    office.run("consumer", "UPDATE xclaim_slot SET taken_at = NULL WHERE queue = 'orders'")

    assert office.queue("consumer").claim() is not None


def test_the_slots_of_another_queue_are_not_taken(
    office: People, server: tuple[str, tuple[str, ...]]
) -> None:
    _, queues = server
    office.owned("invoices").limit(concurrency=1)

    changed = office.run(
        "consumer",
        "UPDATE xclaim_slot SET taken_at = now() WHERE queue = 'invoices' RETURNING slot",
    )

    assert len(changed) == (0 if queues else 1)
