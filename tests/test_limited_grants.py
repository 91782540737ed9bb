"""A role that is limited to `orders` neither sees nor touches `invoices`, on no way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.later_xclaim import later_xclaim
from tests.people import People, people, refused
from xclaim import Claim, ClaimLostError, Queue
from xclaim.operations import migrate
from xclaim.operations.grants import Kind, plan

NO_LEASE = timedelta(0)


@pytest.fixture(scope="module")
def granted(postgresql_server: str, _template_url: str) -> Iterator[People]:
    with people(postgresql_server, _template_url, ["orders"]) as all_of_them:
        yield all_of_them


@pytest.fixture
def office(granted: People) -> People:
    with granted.owner.begin() as connection:
        connection.execute(text("TRUNCATE xclaim_message"))
    return granted


@pytest.fixture
def invoice(office: People) -> Claim:
    """A claim that has lapsed, on one of two messages in the queue of others."""
    invoices = office.owned("invoices")
    invoices.push_many(["theirs", "theirs too"], unique_keys=["key", None])
    return claimed(invoices, lease=NO_LEASE)


def claimed(queue: Queue, *, lease: timedelta = timedelta(minutes=1)) -> Claim:
    claim = queue.claim(lease=lease)
    assert claim is not None
    return claim


@pytest.mark.parametrize("who", [*Kind, "reader"])
def test_another_queue_looks_empty(office: People, invoice: Claim, who: str) -> None:
    invoices = office.queue(who, "invoices")

    assert not any(astuple(invoices.counts()))
    assert invoices.newest_available_at() is None
    assert office.run(who, "SELECT count(*) FROM xclaim_message") == [(0,)]
    assert office.run(who, f"SELECT id FROM xclaim_message WHERE id = {invoice.message.id}") == []


@pytest.mark.parametrize("who", ["producer", "consumer", "reader"])
def test_no_message_of_another_queue_is_found(office: People, invoice: Claim, who: str) -> None:
    invoices = office.queue(who, "invoices")

    assert invoices.peek(10) == []
    assert invoices.find(["key"]) == []
    assert invoices.get(invoice.message.id) is None


@pytest.mark.usefixtures("invoice")
def test_a_consumer_claims_nothing_elsewhere(office: People) -> None:
    invoices = office.queue("consumer", "invoices")

    assert invoices.claim() is None
    assert invoices.claim_many(10) == []
    assert invoices.expire() == 0
    assert list(invoices.stream()) == []


def test_a_consumer_settles_nothing_elsewhere(office: People, invoice: Claim) -> None:
    invoices = office.queue("consumer", "invoices")

    for settle in (invoices.ack, invoices.release, invoices.extend):
        with pytest.raises(ClaimLostError):
            settle(invoice)
    with pytest.raises(ClaimLostError):
        invoices.ack_many([invoice])

    assert office.owned("invoices").counts().claimed == 1


@pytest.mark.parametrize("queue", ["invoices", "invoices.dead"])
def test_a_consumer_moves_nothing_elsewhere(office: People, queue: str) -> None:
    office.owned().push(1)

    with refused():
        office.run("consumer", f"UPDATE xclaim_message SET queue = '{queue}'")


def test_a_consumer_reads_dead_letters_and_claims_none(office: People) -> None:
    office.owned().push(1, max_attempts=1)
    office.owned().release(claimed(office.owned()))
    dead = office.queue("consumer", "orders.dead")

    assert [message.payload for message in dead.peek()] == [1]
    assert dead.claim() is None
    assert office.queue("consumer").redrive() == 0


@pytest.mark.usefixtures("invoice")
def test_a_producer_pushes_nothing_elsewhere(office: People) -> None:
    invoices = office.queue("producer", "invoices")

    for key in (None, "key", "new"):
        with refused():
            invoices.push("theirs", unique_key=key)
    assert len(office.owned("invoices").peek(10)) == 1


@pytest.mark.parametrize("queue", ["invoices", "orders.dead"])
def test_a_producer_smuggles_nothing_in(office: People, queue: str) -> None:
    with refused():
        office.run(
            "producer",
            "INSERT INTO xclaim_message (queue, origin_queue, payload, created_at, available_at)"
            f" VALUES ('{queue}', 'orders', '1', now(), now())",
        )


def test_a_producer_finds_what_it_pushed_wherever_it_went(office: People) -> None:
    pushed = office.queue("producer").push(1, unique_key="key", max_attempts=1)
    office.owned().release(claimed(office.owned()))
    office.owned().redrive(to="invoices")

    again = office.queue("producer").push(1, unique_key="key", max_attempts=1)

    assert again.id == pushed.id
    assert again.queue == "invoices"


@pytest.mark.usefixtures("invoice")
@pytest.mark.parametrize("view", ["xclaim_queue_stats", "xclaim_overview", "xclaim_lineage"])
def test_a_view_shows_an_observer_its_queue_alone(office: People, view: str) -> None:
    office.owned().push(1)

    assert [row.queue for row in office.run("reader", f"SELECT queue FROM {view}")] == ["orders"]


def test_where_views_have_their_owners_rights_an_observer_of_one_queue_gets_none(
    office: People,
) -> None:
    role = office.engines["observer"].url.username or ""
    with office.owner.begin() as connection:
        connection.execute(text("ALTER VIEW xclaim_queue_stats RESET (security_invoker)"))
        limited = plan(connection, "observer", role, queues=["orders"])
        unlimited = plan(connection, "observer", role)
        connection.rollback()

    assert 'GRANT SELECT ON "public".xclaim_queue_stats' not in limited.script
    assert "-- No views" in limited.script
    assert 'GRANT SELECT ON "public".xclaim_queue_stats' in unlimited.script


def test_a_maintainer_touches_nothing_elsewhere(office: People, invoice: Claim) -> None:
    owned = office.owned("invoices")
    owned.ack(invoice)
    claimed(owned, lease=NO_LEASE)
    owned.push(1, max_attempts=1)
    owned.release(claimed(owned))
    before = owned.counts()
    invoices = office.queue("maintainer", "invoices")

    assert invoices.expire() == 0
    assert invoices.redrive() == 0
    assert invoices.prune(older_than=NO_LEASE) == 0
    assert invoices.withdraw(["key"]) == 0
    for status in ("available", "claimed", "consumed"):
        every = "(SELECT array_agg(id) FROM generate_series(1, 1000) AS id)"
        deleted = office.run("maintainer", f"SELECT xclaim_delete({every}, '{status}')")
        assert deleted == [([],)]
    with refused():
        office.run("maintainer", "DELETE FROM xclaim_message")
    assert owned.counts() == before


def test_a_maintainer_redrives_to_no_other_queue(office: People) -> None:
    office.owned().push(1, max_attempts=1)
    office.owned().release(claimed(office.owned()))

    with refused():
        office.queue("maintainer").redrive(to="invoices")

    assert office.owned().counts().dead_letters == 1


def test_a_maintainer_forges_no_claim(office: People) -> None:
    forge = (
        "UPDATE xclaim_message SET status = 'claimed', claimed_at = now(), claimed_by = 'me',"
        " claim_expires_at = now(), claim_token = gen_random_uuid()"
    )
    office.owned().push(1)

    assert office.run("maintainer", forge) == 0
    claimed(office.owned(), lease=NO_LEASE)
    with refused():
        office.run("maintainer", forge)


def test_a_consumer_of_dead_letters_claims_them(office: People) -> None:
    office.owned().push(1, max_attempts=1)
    office.owned().release(claimed(office.owned()))
    role = office.engines["maintainer"].url.username or ""

    with office.owner.begin() as connection:
        plan(connection, "consumer", role, queues=["orders.dead"]).apply(connection)
        connection.execute(text(f"SET LOCAL ROLE {role}"))
        letter = claimed(Queue("orders.dead", connection))
        Queue("orders.dead", connection).release(letter)
        Queue("orders.dead", connection).ack(claimed(Queue("orders.dead", connection)))
        counts = Queue("orders", connection).counts()
        connection.rollback()

    assert letter.message.origin_queue == "orders"
    assert counts.consumed == 1


def test_a_member_of_two_roles_does_the_work_of_both(office: People) -> None:
    roles = [office.engines[who].url.username or "" for who in ("producer", "consumer")]

    with office.owner.begin() as connection:
        member = f"{roles[0]}_too"
        connection.execute(text(f"CREATE ROLE {member} IN ROLE {', '.join(roles)}"))
        connection.execute(text(f"SET LOCAL ROLE {member}"))
        orders = Queue("orders", connection)
        orders.push(1, unique_key="key")
        orders.ack(claimed(orders))
        again = orders.push(1, unique_key="key")
        connection.rollback()

    assert again.consumed_at is not None


@pytest.fixture
def open_office(postgresql_server: str, _template_url: str) -> Iterator[People]:
    with people(postgresql_server, _template_url) as all_of_them:
        yield all_of_them


def test_who_had_all_queues_before_still_has_them(open_office: People) -> None:
    office = open_office
    role = office.engines["reader"].url.username or ""
    with office.owner.begin() as connection:
        plan(connection, "observer", role, queues=["orders"]).apply(connection)
    for name in ("orders", "invoices"):
        office.queue("producer", name).push(1)
        office.queue("consumer", name).ack(claimed(office.queue("consumer", name)))

    seen = office.run("observer", "SELECT queue FROM xclaim_queue_stats")
    seen_by_limited = office.run("reader", "SELECT queue FROM xclaim_queue_stats")
    pruned = office.queue("maintainer", "invoices").prune(older_than=NO_LEASE)

    assert len(seen) == 2
    assert len(seen_by_limited) == 1
    assert pruned == 1


def test_rights_of_before_a_later_revision_are_enough_after_it(
    postgresql_server: str,
    _template_url: str,  # noqa: PT019  (its value is used)
    tmp_path: Path,
) -> None:
    with people(postgresql_server, _template_url, ()) as office:
        with later_xclaim(tmp_path):
            migrate.upgrade(office.owner)

        message = office.queue("producer").push({"on": date(2026, 11, 21)}, unique_key="key")
        assert office.queue("observer").counts().available == 1
        claimed = office.queue("consumer").claim()
        assert claimed is not None
        assert claimed.payload == {"on": date(2026, 11, 21)}
        office.queue("consumer").ack(claimed)
        assert office.queue("maintainer").prune(older_than=timedelta(0)) == 1
        assert message.codec == "json-types"
