"""What the commands say where Citus is: its catalog stands in for it, which no test can install."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine

from xclaim import InvalidArgumentError, Queue, create_engine
from xclaim.operations import migrate
from xclaim.operations.doctor import Finding, Level, examine

CATALOG = """
SET LOCAL allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
VALUES (99999, 'citus', 10, 11, false, '13.2-2');
CREATE TABLE pg_catalog.pg_dist_local_group (groupid int);
CREATE TABLE pg_catalog.pg_dist_shard (logicalrelid regclass, shardid bigint);
CREATE TABLE pg_catalog.pg_dist_placement (shardid bigint, groupid int);
CREATE TYPE pg_catalog.noderole AS ENUM ('primary', 'secondary');
CREATE TABLE pg_catalog.pg_dist_node
       (groupid int, nodename text, nodeport int, noderole pg_catalog.noderole);
INSERT INTO pg_catalog.pg_dist_node
VALUES (0, 'zero', 5432, 'primary'), (1, 'one', 5432, 'primary'), (1, 'two', 5432, 'secondary');
"""


@pytest.fixture
def engine(empty_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(empty_postgresql_url)
    yield engine
    engine.dispose()


def install(connection: Connection, *, group: int) -> None:
    """Make this the node of a group."""
    connection.exec_driver_sql(CATALOG)
    connection.exec_driver_sql(f"INSERT INTO pg_dist_local_group VALUES ({group})")


def place(connection: Connection) -> None:
    """Have the table's rows on the node of group 1."""
    connection.exec_driver_sql("INSERT INTO pg_dist_shard VALUES ('q1.xclaim_message', 102008)")
    connection.exec_driver_sql("INSERT INTO pg_dist_placement VALUES (102008, 1)")


def findings(engine: Engine, name: str) -> list[Finding]:
    return [each for each in examine(engine, schema="q1") if each.name == name]


def test_doctor_sends_to_the_node_that_has_the_schema(engine: Engine) -> None:
    migrate.upgrade(engine, schema="q1")
    with engine.begin() as connection:
        install(connection, group=0)
        place(connection)

    (found,) = findings(engine, "citus")

    assert found.level is Level.OK
    assert found.found.startswith("Citus 13.2-2 has the schema on one:5432: its sizes")
    assert findings(engine, "bloat") == []
    assert findings(engine, "autovacuum") == []


def test_doctor_looks_at_a_schema_that_is_on_this_node(engine: Engine) -> None:
    migrate.upgrade(engine, schema="q1")
    with engine.begin() as connection:
        install(connection, group=0)

    (found,) = findings(engine, "citus")

    assert found.found == "Citus 13.2-2 has the schema on this node"
    assert len(findings(engine, "bloat")) == len(findings(engine, "autovacuum")) == 1


def test_without_citus_nothing_is_said_of_it(engine: Engine) -> None:
    migrate.upgrade(engine, schema="q1")

    assert findings(engine, "citus") == []


def test_a_worker_is_not_upgraded(engine: Engine) -> None:
    with engine.begin() as connection:
        install(connection, group=1)

    with pytest.raises(InvalidArgumentError, match="through the coordinator"):
        migrate.upgrade(engine, schema="q1")


def test_on_a_worker_an_upgrade_that_has_nothing_to_do_is_none(engine: Engine) -> None:
    migrate.upgrade(engine, schema="q1")
    with engine.begin() as connection:
        install(connection, group=1)

    migrate.upgrade(engine, schema="q1")

    with pytest.raises(InvalidArgumentError, match="through the coordinator"):
        migrate.downgrade(engine, "base", schema="q1")


def test_the_coordinator_is_upgraded(engine: Engine) -> None:
    with engine.begin() as connection:
        install(connection, group=0)

    migrate.upgrade(engine, schema="q1")

    assert Queue("orders", engine, schema="q1").push(1).id == 1
