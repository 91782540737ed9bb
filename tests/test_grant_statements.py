"""What `xclaim grants` prints and runs: names stay data, less narrows, and mistakes are refused."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from tests.databases import temporary_database
from tests.later_xclaim import later_xclaim
from xclaim import InvalidArgumentError, Queue, SchemaVersionError, create_engine
from xclaim.operations import migrate
from xclaim.operations.grants import Plan, plan

HOSTILE = [
    "'; DROP TABLE xclaim_message; --",
    '"; --',
    "$$ $1",
    "%s %% %(x)s",
    ":x ::y",
    "\\' \\",
    "ü🫖",
]
CATALOG = """
SELECT attname, attacl::text FROM pg_attribute
 WHERE attrelid = 'xclaim_message'::regclass AND attacl IS NOT NULL
UNION ALL SELECT relname, concat_ws('|', relacl, relrowsecurity) FROM pg_class
 WHERE relname LIKE 'xclaim%'
UNION ALL SELECT proname, coalesce(proacl::text, '') FROM pg_proc WHERE proname LIKE 'xclaim%'
UNION ALL SELECT policyname, concat_ws('|', roles, cmd, qual, with_check) FROM pg_policies
ORDER BY 1
"""

NewRole = Callable[..., str]


@pytest.fixture
def new_role(postgresql_server: str) -> Iterator[NewRole]:
    """Return a function that makes up the name of a role, which is dropped in the end."""
    with ExitStack() as stack:
        address = make_url(postgresql_server).set(drivername="postgresql")
        administrator = stack.enter_context(
            psycopg.connect(address.render_as_string(hide_password=False), autocommit=True)
        )

        def make_up(name: str = "") -> str:
            role = f"xclaim_test_{secrets.token_hex(4)}{name}"
            drop = sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role))
            stack.callback(administrator.execute, drop)
            return role

        yield make_up


@pytest.fixture
def database(
    postgresql_server: str,
    _template_url: str,
    new_role: NewRole,  # noqa: ARG001  (its roles are dropped after the database they work in)
) -> Iterator[Engine]:
    with temporary_database(postgresql_server, template=_template_url) as url:
        engine = create_engine(url)
        yield engine
        engine.dispose()


def grant(engine: Engine, kind: str, role: str, **options: Any) -> dict[str, Any]:
    with engine.begin() as connection:
        return plan(connection, kind, role, **options).apply(connection)


def planned(engine: Engine, kind: str, role: str, **options: Any) -> Plan:
    with engine.connect() as connection:
        return plan(connection, kind, role, **options)


def catalog(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(CATALOG)))


def login(engine: Engine, role: str) -> Engine:
    with engine.begin() as connection:
        alter = sql.SQL("ALTER ROLE {} LOGIN PASSWORD 'hunter2'").format(sql.Identifier(role))
        driver: Any = connection.connection.driver_connection
        driver.execute(alter)
    return create_engine(engine.url.set(username=role, password="hunter2"))


@pytest.mark.parametrize(
    ("role", "named"),
    [
        ("", "role name is empty"),
        ("  ", "role name '  ' is blank"),
        ("a\x00b", r"role name 'a\\x00b' has a NUL"),
        ("\ud800", "lone surrogate"),
        ("a\nb", "control characters"),
        ("x" * 64, "64 bytes long"),
        ("é" * 32, "64 bytes long"),
        ("public", "'public' is PostgreSQL's own"),
        ("none", "'none' is PostgreSQL's own"),
        ("pg_monitor", "'pg_monitor' is PostgreSQL's own"),
        (7, "role name must be text, not 7"),
    ],
)
def test_a_role_that_cannot_be_is_refused_by_name(database: Engine, role: Any, named: str) -> None:
    before = catalog(database)

    with pytest.raises(InvalidArgumentError, match=named):
        grant(database, "producer", role)

    assert catalog(database) == before


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("owner", {}, "kind 'owner' is unknown: use producer, consumer, observer, maintainer"),
        ("producer", {"queues": ["orders.dead"]}, "push to 'orders'"),
        ("producer", {"payloads": True}, "a producer has them"),
        ("consumer", {"queues": "orders"}, "queues must be a list"),
        ("consumer", {"queues": ["a\nb"]}, "queue name"),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(
    database: Engine, kind: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        grant(database, kind, "nobody", **options)


def test_sqlite_has_no_roles(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)

    with pytest.raises(InvalidArgumentError, match=r"SQLite has no roles.*rights of the file"):
        grant(engine, "producer", "worker")

    engine.dispose()


def test_a_role_with_the_owners_rights_is_refused(database: Engine, new_role: NewRole) -> None:
    role = new_role()
    with database.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} BYPASSRLS"))

    with pytest.raises(InvalidArgumentError, match="is a superuser"):
        grant(database, "consumer", database.url.username or "")
    with pytest.raises(InvalidArgumentError, match="BYPASSRLS"):
        grant(database, "consumer", role, queues=["orders"])
    with database.begin() as connection:
        connection.execute(text(f"ALTER TABLE xclaim_message OWNER TO {role}"))
    with pytest.raises(InvalidArgumentError, match="owns the table"):
        grant(database, "consumer", role)

    with database.begin() as connection:
        connection.execute(text("ALTER TABLE xclaim_message OWNER TO CURRENT_USER"))


def test_an_old_or_missing_schema_says_what_to_run(
    database: Engine, empty_postgresql_url: str, tmp_path: Path
) -> None:
    empty = create_engine(empty_postgresql_url)

    for engine in (database, empty):
        with (
            later_xclaim(tmp_path),
            pytest.raises(SchemaVersionError, match="xclaim upgrade"),
        ):
            grant(engine, "observer", "worker")

    empty.dispose()


def test_what_is_printed_is_what_is_run(database: Engine, new_role: NewRole) -> None:
    role = new_role()
    script = planned(database, "consumer", role, queues=["orders", "o'r\\d"]).script
    with database.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute(f"SET standard_conforming_strings = off; {script}")
        connection.connection.invalidate()
    printed = catalog(database)

    done = grant(database, "consumer", role, queues=["orders", "o'r\\d"])

    assert catalog(database) == printed
    assert done["created"] is False
    assert any(r"queue = ANY (ARRAY['orders'::text, 'o''r\d'::text" in row[1] for row in printed)


@pytest.mark.parametrize("kind", ["producer", "consumer", "maintainer"])
def test_who_changes_messages_is_limited_by_rows_also_on_all_queues(
    database: Engine, new_role: NewRole, kind: str
) -> None:
    enable = "ENABLE ROW LEVEL SECURITY"

    assert enable in planned(database, kind, new_role()).script
    assert enable not in planned(database, "observer", new_role()).script


@pytest.mark.parametrize("queues", [(), ("orders",)])
def test_a_later_grant_takes_away_what_an_earlier_one_gave(
    database: Engine, new_role: NewRole, queues: tuple[str, ...]
) -> None:
    role, other = new_role(), new_role()
    grant(database, "observer", other, queues=["orders"])
    grant(database, "observer", role, queues=queues)
    as_new = catalog(database)
    with database.begin() as connection:
        connection.execute(text(f"GRANT ALL ON xclaim_message, xclaim_lineage TO {role}"))
        connection.execute(text(f"CREATE POLICY mine ON xclaim_message TO {role} USING (true)"))
    for kind in ("producer", "consumer", "maintainer"):
        grant(database, kind, role)

    grant(database, "observer", role, queues=queues)

    assert catalog(database) == as_new


@pytest.mark.parametrize("kind", ["consumer", "maintainer"])
def test_a_role_that_was_renamed_keeps_nothing_of_what_it_had_under_its_old_name(
    database: Engine, new_role: NewRole, kind: str
) -> None:
    old, new = new_role(), new_role()
    grant(database, kind, old)
    with database.begin() as connection:
        connection.execute(text(f"ALTER ROLE {old} RENAME TO {new}"))

    grant(database, kind, new, queues=["orders"])

    Queue("invoices", database).push(1)
    engine = login(database, new)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(id) FROM xclaim_message")) == 0
    engine.dispose()
    with database.connect() as connection:
        rules = text("SELECT DISTINCT qual FROM pg_policies WHERE qual = 'true'")
        named = text("SELECT policyname FROM pg_policies WHERE NOT policyname LIKE :new")
        assert connection.scalars(rules).all() == []
        assert connection.scalars(named, {"new": f"%{new}"}).all() == []


def test_the_policies_of_a_role_that_was_renamed_are_not_taken_from_it(
    database: Engine, new_role: NewRole
) -> None:
    packer, renamed = new_role(), new_role()
    grant(database, "consumer", packer)
    with database.begin() as connection:
        connection.execute(text(f"ALTER ROLE {packer} RENAME TO {renamed}"))

    with pytest.raises(InvalidArgumentError, match=f"are for {renamed}, which had the name"):
        grant(database, "consumer", packer)

    Queue("orders", database).push(1)
    engine = login(database, renamed)
    assert Queue("orders", engine).claim() is not None
    engine.dispose()
    grant(database, "consumer", renamed)
    assert grant(database, "consumer", packer)["created"] is True


def test_roles_with_long_names_keep_their_policies_apart(
    database: Engine, new_role: NewRole
) -> None:
    begin = new_role("x" * 41)
    one, other = begin + "1", begin + "2"
    for role in (one, other):
        with database.begin() as connection:
            connection.execute(text(f"CREATE ROLE {role}"))
        grant(database, "observer", role, queues=["orders"])

    policies = [row for row in catalog(database) if one in row[1] or other in row[1]]

    with database.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {one}, {other}"))
        connection.execute(text(f"DROP ROLE {one}, {other}"))
    assert len({name for name, _ in policies if name.startswith("xclaim_select_")}) == 2


def test_roles_that_row_level_security_would_blind_are_named(
    database: Engine, new_role: NewRole
) -> None:
    by_hand, role = new_role(), new_role()
    with database.begin() as connection:
        connection.execute(text(f"CREATE ROLE {by_hand}"))
        connection.execute(text(f"GRANT SELECT (id) ON xclaim_message TO {by_hand}"))

    limited = planned(database, "consumer", role, queues=["orders"])
    done = grant(database, "consumer", role, queues=["orders"])
    granted = grant(database, "consumer", by_hand, queues=["orders"])

    assert f"for each: {by_hand}\n" in limited.script
    assert done["without_policy"] == [by_hand]
    assert granted["without_policy"] == []
    assert "--" not in planned(database, "observer", role).script.partition("\n")[2]


def test_what_a_role_has_besides_is_named(database: Engine, new_role: NewRole) -> None:
    group, role = new_role(), new_role()
    grant(database, "maintainer", group)
    with database.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} IN ROLE {group}"))
        connection.execute(text("CREATE POLICY everybody ON xclaim_message USING (true)"))
        connection.execute(text("GRANT SELECT ON xclaim_message TO PUBLIC"))

    done = grant(database, "consumer", role, queues=["orders"])

    policies = [
        f"the policy xclaim_{command}_{group}" for command in ("delete", "select", "update")
    ]
    rights = ["the rights of PUBLIC", f"the rights of {group}"]
    assert sorted(done["wider"]) == sorted(["the policy everybody", *policies, *rights])
    assert "The role has more than this" in planned(database, "consumer", role).script


def test_a_new_policy_does_not_wait_for_ever(database: Engine, new_role: NewRole) -> None:
    assert "SET LOCAL lock_timeout" in planned(database, "observer", new_role()).script


def test_a_closed_schema_is_opened_to_the_role(database: Engine, new_role: NewRole) -> None:
    usage = 'GRANT USAGE ON SCHEMA "public"'
    opened = planned(database, "observer", new_role()).script
    with database.begin() as connection:
        connection.execute(text("REVOKE USAGE ON SCHEMA public FROM PUBLIC"))

    closed = planned(database, "observer", new_role()).script

    assert (usage in opened, usage in closed) == (False, True)


def test_two_grants_in_one_transaction(database: Engine, new_role: NewRole) -> None:
    schema = "100 %s"
    migrate.upgrade(database, schema=schema)

    with database.begin() as connection:
        done = [
            plan(connection, kind, new_role(), schema=schema).apply(connection)["kind"]
            for kind in ("producer", "consumer")
        ]

    assert done == ["producer", "consumer"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_roles_queues_and_schemas_stay_data(
    database: Engine, new_role: NewRole, name: str
) -> None:
    schema = f"s {name}"
    migrate.upgrade(database, schema=schema)
    engines = {}
    for kind in ("producer", "consumer", "observer", "maintainer"):
        role = new_role(f" {name}")
        grant(database, kind, role, queues=[name], schema=schema)
        engines[kind] = login(database, role)

    Queue(name, engines["producer"], schema=schema, notify=True).push(1)
    claim = Queue(name, engines["consumer"], schema=schema).claim()
    counts = Queue(name, engines["observer"], schema=schema).counts()
    with pytest.raises(ProgrammingError):
        Queue("other", engines["producer"], schema=schema).push(1)
    assert claim is not None
    Queue(name, engines["consumer"], schema=schema).ack(claim)
    pruned = Queue(name, engines["maintainer"], schema=schema).prune(older_than=timedelta(0))

    for engine in engines.values():
        engine.dispose()
    assert counts.claimed == 1
    assert pruned == 1
