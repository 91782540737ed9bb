"""What ordering keys have in a database and is not as this xclaim makes it: named, and mended."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from tests.ordering.draining import drained
from tests.people import People, people
from tests.retrying import AT_ONCE
from xclaim import Queue, SchemaVersionError, create_engine
from xclaim.operations import doctor, migrate, ordering
from xclaim.operations.doctor import Level
from xclaim.sql.ordering import NEW, OWED_NAME
from xclaim.sql.schema import TURN_NAME

_ANOTHER = (
    "CREATE OR REPLACE FUNCTION {} LANGUAGE plpgsql SECURITY DEFINER"
    " SET search_path = pg_catalog, pg_temp SET enable_seqscan = off"
    " SET plan_cache_mode = force_generic_plan AS 'BEGIN RETURN NULL; END'"
)
CHANGES = {
    _ANOTHER.format("xclaim_pass_turn() RETURNS trigger"): "xclaim_pass_turn in body",
    _ANOTHER.format("xclaim_line_up(ids bigint[]) RETURNS bigint[]"): "xclaim_line_up in body",
    "ALTER FUNCTION xclaim_line_up SECURITY INVOKER": (
        "xclaim_line_up in rights (SECURITY DEFINER)"
    ),
    "ALTER FUNCTION xclaim_owe SECURITY DEFINER": "xclaim_owe in rights (SECURITY INVOKER)",
    "ALTER FUNCTION xclaim_pass_owed SET search_path = mine": "xclaim_pass_owed in settings",
    "ALTER FUNCTION xclaim_pass_owed OWNER TO pg_monitor": "xclaim_pass_owed in owner",
    "ALTER FUNCTION xclaim_give_turn STABLE": "xclaim_give_turn in language",
    "GRANT EXECUTE ON FUNCTION xclaim_line_up TO PUBLIC": ("xclaim_line_up in who may execute it"),
    "CREATE FUNCTION xclaim_owe(of_id integer, awaited bigint[]) RETURNS void LANGUAGE sql AS ''": (
        "xclaim_owe in another function of that name beside it"
    ),
    f"DROP INDEX {TURN_NAME}; CREATE UNIQUE INDEX {TURN_NAME} ON xclaim_message"
    " (origin_queue, ordering_key, id) WHERE ordering_key IS NOT NULL AND available_at IS NOT NULL"
    " AND (consumed_at IS NULL AND queue = origin_queue OR keeps_turn IS TRUE)": (
        f"{TURN_NAME} in definition"
    ),
    f"DROP INDEX {TURN_NAME}; CREATE UNIQUE INDEX {TURN_NAME} ON xclaim_message"
    " (origin_queue, ordering_key) WHERE ordering_key IS NOT NULL AND available_at IS NOT NULL"
    " AND consumed_at IS NULL AND (queue = origin_queue OR keeps_turn IS TRUE)": (
        f"{TURN_NAME} in definition"
    ),
    "DROP TRIGGER xclaim_pass_turn_of_deleted ON xclaim_message;"
    "CREATE TRIGGER xclaim_pass_turn_of_deleted AFTER DELETE ON xclaim_message FOR EACH ROW"
    " WHEN (OLD.id < 0) EXECUTE FUNCTION xclaim_pass_turn()": (
        "trigger xclaim_pass_turn_of_deleted in definition"
    ),
}


@pytest.fixture
def owner(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(fresh_postgresql_url)
    ordering.enable(engine)
    yield engine
    engine.dispose()


def of_the_doctor(engine: Engine, schema: str | None = None) -> doctor.Finding:
    (found,) = [each for each in doctor.examine(engine, schema=schema) if each.name == "ordering"]
    return found


def run(engine: Engine, sql: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(sql))


def test_what_was_just_made_differs_in_nothing(engine: Engine) -> None:
    with engine.connect() as connection:
        assert ordering.differing_parts(connection, None) == {}
    assert of_the_doctor(engine).level is Level.OK
    assert not ordering.enable(engine)


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_named_and_made_anew(owner: Engine, change: str) -> None:
    Queue("orders", owner).push_many([0, 1, 2], ordering_keys=["a"] * 3)
    run(owner, change)

    found = of_the_doctor(owner)

    assert found.found == f"not as this xclaim makes it: {CHANGES[change]}"
    assert "`xclaim ordering enable`" in str(found.remedy)
    assert ordering.enable(owner)
    assert of_the_doctor(owner).level is Level.OK
    assert drained(Queue("orders", owner, retry=AT_ONCE)) == [0, 1, 2]


def test_all_that_was_changed_is_made_anew_in_a_transaction(owner: Engine) -> None:
    for change in CHANGES:
        run(owner, change)

    with owner.begin() as connection:
        assert ordering.enable(connection)

    assert of_the_doctor(owner).level is Level.OK
    assert ordering.disable(owner)


def test_triggers_that_were_disabled_are_made_anew(owner: Engine) -> None:
    run(owner, "ALTER TABLE xclaim_message DISABLE TRIGGER USER")

    assert of_the_doctor(owner).level is Level.PROBLEM
    assert ordering.enable(owner)
    assert of_the_doctor(owner).level is Level.OK


def test_what_was_left_when_an_index_was_replaced_goes(owner: Engine) -> None:
    run(owner, f"CREATE INDEX {NEW.format(OWED_NAME)} ON xclaim_message (id)")

    assert not ordering.enable(owner)

    with owner.connect() as connection:
        assert connection.scalar(text(f"SELECT to_regclass('{NEW.format(OWED_NAME)}')")) is None


def test_a_storage_parameter_of_an_index_is_for_its_owner_to_say(owner: Engine) -> None:
    run(owner, f"ALTER INDEX {OWED_NAME} SET (fillfactor = 70)")

    assert of_the_doctor(owner).level is Level.OK


def test_a_schema_with_another_name_is_enabled_anew(owner: Engine) -> None:
    Queue("orders", owner).push_many([0, 1, 2], ordering_keys=["a"] * 3)
    name = 'sh"op WHERE (a)'
    run(owner, 'ALTER SCHEMA public RENAME TO "sh""op WHERE (a)"')

    renamed = Queue("orders", owner, schema=name)
    with pytest.raises(SchemaVersionError, match=r"xclaim_line_up .*`xclaim ordering enable"):
        renamed.push(3, ordering_key="a")
    assert of_the_doctor(owner, name).level is Level.PROBLEM
    assert ordering.enable(owner, schema=name)

    assert of_the_doctor(owner, name).level is Level.OK
    queue = Queue("orders", owner, schema=name, retry=AT_ONCE)
    queue.push(3, ordering_key="a")
    assert drained(queue) == [0, 1, 2, 3]


@contextmanager
def another_owner(engine: Engine, *, of_schema: bool) -> Iterator[str]:
    """Give the table to another role."""
    role = f"xclaim_test_owner_{secrets.token_hex(4)}"
    run(engine, f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT CREATE ON SCHEMA public TO {role}")
    for table in ("xclaim_message", "xclaim_queue", "xclaim_slot", "xclaim_alembic_version"):
        run(engine, f"ALTER TABLE IF EXISTS {table} OWNER TO {role}")
    if of_schema:
        run(engine, f"ALTER SCHEMA public OWNER TO {role}")
    yield role
    run(engine, f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("by_owner", [False, True])
def test_a_table_with_another_owner_is_enabled_anew(owner: Engine, *, by_owner: bool) -> None:
    Queue("orders", owner).push_many([0, 1, 2], ordering_keys=["a"] * 3)
    with another_owner(owner, of_schema=by_owner) as role:
        found = of_the_doctor(owner)
        assert found.level is Level.PROBLEM
        assert "xclaim_line_up in owner" in found.found
        url = owner.url.set(username=role, password="x") if by_owner else owner.url
        engine = create_engine(url.render_as_string(hide_password=False))

        assert ordering.enable(engine)

        assert of_the_doctor(owner).level is Level.OK
        assert drained(Queue("orders", engine, retry=AT_ONCE)) == [0, 1, 2]
        engine.dispose()


@pytest.fixture
def office(postgresql_server: str, _template_url: str) -> Iterator[People]:
    with people(postgresql_server, _template_url, ("orders",)) as office:
        ordering.enable(office.owner)
        yield office


def test_what_a_trigger_of_somebody_else_lacks_is_no_fault_of_the_schema(owner: Engine) -> None:
    run(
        owner,
        "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN INSERT INTO nowhere VALUES (1); RETURN NULL; END';"
        "CREATE TRIGGER mine AFTER INSERT ON xclaim_message EXECUTE FUNCTION mine()",
    )

    with pytest.raises(DBAPIError, match="nowhere"):
        Queue("orders", owner).push(1)


def test_who_may_not_stand_in_line_any_more_gets_the_right_again(office: People) -> None:
    role = office.engines["producer"].url.username
    run(office.owner, f"REVOKE ALL ON FUNCTION xclaim_line_up FROM {role}")

    found = of_the_doctor(office.owner)

    assert found.level is Level.WARNING
    assert found.found.endswith("xclaim_line_up in who may execute it")
    assert ordering.enable(office.owner)
    assert office.queue("producer").push(1, ordering_key="a").id
    assert of_the_doctor(office.owner).level is Level.OK


def test_a_file_that_another_xclaim_made_is_made_anew(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('file')}/a.db")
    migrate.upgrade(engine)
    queue = Queue("orders", engine, retry=AT_ONCE)
    queue.push_many([0, 1, 2], ordering_keys=["a"] * 3)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER xclaim_pass_turn")
        connection.exec_driver_sql(
            "CREATE TRIGGER xclaim_pass_turn AFTER UPDATE OF status ON xclaim_message"
            " WHEN 1 BEGIN SELECT 1; END"
        )
        connection.exec_driver_sql(f"DROP INDEX {TURN_NAME}")
        connection.exec_driver_sql(f"CREATE INDEX {TURN_NAME} ON xclaim_message (id)")

    found = of_the_doctor(engine)

    assert found.level is Level.PROBLEM
    assert "xclaim_pass_turn in definition" in found.found
    assert f"{TURN_NAME} in definition" in found.found
    assert ordering.enable(engine)
    assert of_the_doctor(engine).level is Level.OK
    assert drained(queue) == [0, 1, 2]
    engine.dispose()
