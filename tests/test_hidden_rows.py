"""Nobody concludes from rows that row-level security hides from him: he is refused, or told."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from tests.people import People, member, people
from xclaim import DuplicateMessageError, HiddenRowsError, Payloads, Queue, create_engine
from xclaim.operations import migrate
from xclaim.operations.audit import audit
from xclaim.operations.doctor import Level, examine
from xclaim.operations.grants import plan
from xclaim.operations.orphans import prune_orphans
from xclaim.operations.rotation import rotate_keys
from xclaim.verbs import refuse_hidden_queue

LARGE = "a" * 2_000
HOUR = timedelta(hours=1)
HOSTILE = ["orders", ":x ::y", "o'r\\d", '"; --', "%s %% %(x)s", "ü🫖", "a OR true"]


@pytest.fixture(scope="module")
def limited(postgresql_server: str, _template_url: str) -> Iterator[People]:
    with people(postgresql_server, _template_url, ["orders"]) as all_of_them:
        yield all_of_them


@pytest.fixture(scope="module")
def unlimited(postgresql_server: str, _template_url: str) -> Iterator[People]:
    with people(postgresql_server, _template_url) as all_of_them:
        yield all_of_them


@pytest.fixture
def office(limited: People) -> People:
    with limited.owner.begin() as connection:
        connection.execute(text("TRUNCATE xclaim_message"))
    return limited


@pytest.fixture
def whole_office(unlimited: People) -> People:
    with unlimited.owner.begin() as connection:
        connection.execute(text("TRUNCATE xclaim_message"))
    return unlimited


@pytest.fixture
def payloads(tmp_path: Path) -> Payloads:
    return Payloads(storage=(tmp_path / "payloads").as_uri(), threshold=1_000)


def age(folder: Path) -> None:
    long_ago = time.time() - 7_200
    for path in folder.rglob("*"):
        os.utime(path, (long_ago, long_ago))


def push_and_roll_back(engine: Engine, payloads: Payloads) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        Queue("orders", connection, payloads=payloads).push(LARGE)
        transaction.rollback()


@pytest.mark.parametrize("who", ["reader", "consumer"])
@pytest.mark.parametrize("every", [False, True])
def test_orphans_are_not_looked_for_where_rows_are_hidden(
    office: People, payloads: Payloads, tmp_path: Path, who: str, every: bool
) -> None:
    Queue("orders", office.owner, payloads=payloads).push(LARGE)
    theirs = Queue("invoices", office.owner, payloads=payloads).push(LARGE)
    push_and_roll_back(office.owner, payloads)
    age(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(HiddenRowsError, match="run it as the owner"):
        prune_orphans(office.engines[who], payloads, older_than=HOUR, every=every)

    assert sorted(tmp_path.rglob("*")) == before
    kept = Queue("invoices", office.owner, payloads=payloads).get(theirs.id)
    assert kept is not None
    assert kept.payload == LARGE


def test_a_role_that_sees_all_queues_finds_the_orphans(
    whole_office: People, payloads: Payloads, tmp_path: Path
) -> None:
    Queue("orders", whole_office.owner, payloads=payloads).push(LARGE)
    push_and_roll_back(whole_office.owner, payloads)
    age(tmp_path)

    found = prune_orphans(whole_office.engines["reader"], payloads, older_than=HOUR)

    assert (found.examined, found.removed) == (2, 1)


@pytest.mark.parametrize("who", ["reader", "consumer"])
def test_a_rotation_of_keys_is_refused_where_rows_are_hidden(office: People, who: str) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    Queue("invoices", office.owner, payloads=Payloads(keys=[old])).push({"iban": 1})

    with pytest.raises(HiddenRowsError):
        rotate_keys(office.engines[who], Payloads(keys=[new, old]))


@pytest.mark.parametrize("who", ["reader", "consumer", "maintainer"])
def test_no_granted_role_rotates_keys(whole_office: People, who: str) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    message = Queue("orders", whole_office.owner, payloads=Payloads(keys=[old])).push(1)

    with pytest.raises(ProgrammingError, match="permission denied"):
        rotate_keys(whole_office.engines[who], Payloads(keys=[new, old]))

    kept = Queue("orders", whole_office.owner).get(message.id)
    assert kept is not None
    assert kept.stored == message.stored


@pytest.mark.parametrize("queue", [None, "orders", "invoices"])
def test_an_audit_is_refused_where_rows_are_hidden(office: People, queue: str | None) -> None:
    with pytest.raises(HiddenRowsError, match="an audit has to see all of them"):
        audit(office.engines["consumer"], queue=queue)


def test_an_audit_by_a_role_that_sees_all_queues_is_one(whole_office: People) -> None:
    whole_office.owned().push(1)

    audited = audit(whole_office.engines["consumer"])

    assert audited.rows["available"] == 1


def test_what_a_downgrade_drops_is_not_counted_where_rows_are_hidden(office: People) -> None:
    office.owned("invoices").push(1)

    with pytest.raises(HiddenRowsError):
        migrate.messages_lost(office.engines["consumer"], "base")

    assert migrate.messages_lost(office.owner, "base") == {"available": 1}


def test_row_level_security_can_be_forced_on_an_owner_and_he_is_told(
    postgresql_server: str, fresh_postgresql_url: str
) -> None:
    engine = create_engine(fresh_postgresql_url)
    Queue("orders", engine).push(1)
    with member(postgresql_server, People(owner=engine, engines={})) as owner:
        with engine.begin() as connection:
            for sql in (
                f"ALTER TABLE xclaim_message OWNER TO {owner.url.username}",
                "ALTER TABLE xclaim_message ENABLE ROW LEVEL SECURITY",
                "ALTER TABLE xclaim_message FORCE ROW LEVEL SECURITY",
                f"GRANT SELECT ON xclaim_alembic_version TO {owner.url.username}",
            ):
                connection.execute(text(sql))

        with pytest.raises(HiddenRowsError):
            migrate.messages_lost(owner, "base")
        with pytest.raises(HiddenRowsError):
            audit(owner)

        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE xclaim_message OWNER TO CURRENT_USER"))
            connection.execute(text(f"DROP OWNED BY {owner.url.username}"))
    engine.dispose()


def test_the_doctor_says_what_a_role_does_not_see(office: People) -> None:
    invoices = office.owned("invoices")
    invoices.push(1, max_attempts=1)
    (claim,) = invoices.claim_many(1)
    invoices.release(claim, error="dead")

    findings = {each.name: each for each in examine(office.engines["observer"])}

    assert findings["row_security"].level is Level.WARNING
    assert findings["dead_letters"].found == "none; of what this role sees"
    assert findings["sessions"].remedy == "GRANT pg_monitor to it"
    assert findings["old_snapshots"].found.endswith("; of what this role sees")
    assert findings["indexes"].level is Level.OK


def test_the_doctor_of_the_owner_sees_everything(office: People) -> None:
    names = {each.name for each in examine(office.owner)}

    assert names.isdisjoint({"row_security", "sessions"})


@pytest.mark.parametrize("keys", [["key"], ["another", "key"]])
@pytest.mark.parametrize("payload", [1, 2])
@pytest.mark.parametrize("is_joined", [False, True])
def test_a_push_under_a_key_that_is_hidden_says_so_and_pushes_nothing(
    postgresql_server: str, office: People, keys: list[str], payload: int, is_joined: bool
) -> None:
    office.owned().push(1, unique_key="key")
    office.owned().ack(office.owned().claim_many(1)[0])
    with member(postgresql_server, office) as producer:
        with office.owner.begin() as connection:
            role = str(producer.url.username)
            plan(connection, "producer", role, queues=["orders"]).apply(connection)
            narrower = f'ALTER POLICY "xclaim_select_{role}" ON xclaim_message'
            connection.execute(text(f"{narrower} USING (status = 'available')"))

        payloads = [payload] * len(keys)
        with pytest.raises(HiddenRowsError, match=r"hides from this role a message .*'key'"):
            if is_joined:
                with producer.begin() as connection:
                    Queue("orders", connection).push_many(payloads, unique_keys=keys)
            else:
                Queue("orders", producer).push_many(payloads, unique_keys=keys)

        with office.owner.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
    assert office.owned().counts().available == 0


def test_a_producer_of_another_queue_is_not_told_that_a_key_is_taken(office: People) -> None:
    office.owned().push(1, unique_key="key")

    with pytest.raises(DuplicateMessageError):
        office.queue("producer").push(2, unique_key="key")
    with pytest.raises(Exception, match="row-level security"):
        office.queue("producer", "invoices").push(2, unique_key="key")


@pytest.mark.parametrize("queue", HOSTILE)
@pytest.mark.parametrize("kind", ["producer", "consumer", "observer", "maintainer"])
def test_what_a_role_may_see_is_told_from_what_it_may_not(
    postgresql_server: str, office: People, kind: str, queue: str
) -> None:
    with member(postgresql_server, office) as engine:
        role = str(engine.url.username)
        with office.owner.begin() as connection:
            plan(connection, kind, role, queues=[queue, "also"]).apply(connection)

        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            refuse_hidden_queue(connection, queue)
            refuse_hidden_queue(connection, "also")
            with pytest.raises(HiddenRowsError, match=f"from role '{role}'"):
                refuse_hidden_queue(connection, f"{queue} {secrets.token_hex(2)}")

        with office.owner.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))


def test_a_policy_that_looks_at_more_than_the_queue_is_one_that_hides(
    postgresql_server: str, office: People
) -> None:
    with member(postgresql_server, office) as engine:
        role = str(engine.url.username)
        with office.owner.begin() as connection:
            plan(connection, "observer", role, queues=["orders"]).apply(connection)
            narrower = f'ALTER POLICY "xclaim_select_{role}" ON xclaim_message'
            connection.execute(text(f"{narrower} USING (queue = 'orders' AND priority > 0)"))

        with (
            engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
            pytest.raises(HiddenRowsError),
        ):
            refuse_hidden_queue(connection, "orders")

        with office.owner.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
