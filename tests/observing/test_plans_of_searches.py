"""On a large table no search reads more than it says: by EXPLAIN, each goes by its index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests import databases
from xclaim import create_engine
from xclaim.operations.migrate import upgrade
from xclaim.sql import full_names
from xclaim.sql.dialects import POSTGRESQL, SQLITE, Dialect
from xclaim.sql.schema import message_table
from xclaim.sql.statements import (
    observing_claims,
    observing_letters,
    observing_messages,
    observing_parts,
    observing_work,
)
from xclaim.sql.statements.message_conditions import Condition, Readable, Trait
from xclaim.sql.statements.observing_walks import Due, Walk, Way
from xclaim.sql.statements.observing_work import Part

ROWS = 60_000
FILL = """
INSERT INTO xclaim_message (queue, origin_queue, status, payload, headers, unique_key, created_at,
       available_at, claimed_at, claim_expires_at, claimed_by, claim_token, claim_key, consumed_at,
       consumed_by, last_error)
SELECT CASE WHEN n % 10 = 9 THEN 'q3.dead' ELSE 'q' || n % 7 END, 'q' || n % 7,
       CASE WHEN n % 10 < 7 THEN 'consumed' WHEN n % 10 = 7 THEN 'claimed' ELSE 'available' END,
       CAST('{"n": 1}' AS JSONB), CAST('{"dag_id": "etl"}' AS JSONB),
       CASE WHEN n % 3 = 0 THEN 'key-' || n END, CAST(NOW AS TIMESTAMPTZ), CAST(NOW AS TIMESTAMPTZ),
       CASE WHEN n % 10 < 8 THEN CAST(NOW AS TIMESTAMPTZ) END,
       CASE WHEN n % 10 = 7 THEN CAST(NOW AS TIMESTAMPTZ) END,
       CASE WHEN n % 10 = 7 THEN 'etl/r/t#1@h' END,
       CASE WHEN n % 10 = 7 THEN CAST('00000000000000000000000000000001' AS UUID) END,
       CASE WHEN n % 10 = 7 THEN 'etl/r/t' END,
       CASE WHEN n % 10 < 7 THEN CAST(NOW AS TIMESTAMPTZ) END,
       CASE WHEN n % 10 < 7 THEN 'etl/r/t#1@h' END,
       CASE WHEN n % 10 = 9 THEN 'it failed' END
  FROM NUMBERS
"""
NUMBERS = {
    "postgresql": f"generate_series(1, {ROWS}) AS numbers (n)",
    "sqlite": "(WITH RECURSIVE numbers (n) AS"
    f" (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ROWS}) SELECT n FROM numbers)",
}
NOWS = {
    "postgresql": "CAST('2026-01-01 00:00:00+00' AS TIMESTAMPTZ) + n * interval '1 second'",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', '2026-01-01', n || ' seconds')",
}
CONDITIONS = (
    Condition(test=Trait.PAYLOAD, number=0, steps=1, kind="number"),
    Condition(test=Trait.RUN, number=1),
    Condition(test=Trait.CLAIMED, number=2),
)
VALUES: dict[str, Any] = {
    "text_0": "2",
    "step_0_0": "n",
    "text_1": "r",
    "queue_name": "q3",
    "priority": 0,
    "from_id": 2**63 - 1,
    "to_id": 0,
    "look": 100,
    "message_limit": 50,
    "place_id": 30_000,
    "end_id": 40,
    "key": "key-3",
    "message_id": 7,
    "claimant_0": "etl/r/t#",
    "producer_dag_id": "etl",
    "producer_run_id": "r",
    "producer_task_id": "t",
    "producer_map_index": "-1",
    "message_table": "xclaim_message",
    "queues": "{q3,q3.dead}",
    "levels": "{0,0}",
    "level": 32_768,
    "bound": 100,
    "most": 100,
}
PLACES = {"postgresql": "1767255600000000", "sqlite": "t" + b"2026-01-01 08:20:00.000".hex()}
MOST_READ = VALUES["look"] + 1  # to see that those of one time have ended
MAY = Readable()
WAYS = [
    Way(walk=walk, due=due, is_begun=is_begun)
    for walk, due in [
        (Walk.IDS, Due.ANY),
        (Walk.CHOSEN, Due.ANY),
        (Walk.HELD, Due.ANY),
        (Walk.CONSUMED, Due.ANY),
        *((Walk.WAITING, due) for due in Due),
    ]
    for is_begun in (False, True)
    if walk not in (Walk.IDS, Walk.CHOSEN) or not is_begun
]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def large(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql_server")
        with databases.temporary_database(server) as url:
            yield from _filled(url)
    else:
        path = tmp_path_factory.mktemp("plans") / "xclaim.db"
        yield from _filled(databases.sqlite_url(path))


def _filled(url: str) -> Iterator[Engine]:
    upgrade(url)
    engine = create_engine(url)
    is_postgresql = engine.dialect.name == "postgresql"
    fill = FILL.replace("NUMBERS", NUMBERS[engine.dialect.name])
    fill = fill.replace("NOW", NOWS[engine.dialect.name])
    if not is_postgresql:
        for type_ in ("JSONB", "TIMESTAMPTZ", "UUID"):
            fill = fill.replace(f"AS {type_}", "AS TEXT")
    with engine.begin() as connection:
        connection.exec_driver_sql(fill.replace("%", "%%") if is_postgresql else fill)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE xclaim_message" if is_postgresql else "ANALYZE"))
    yield engine
    engine.dispose()


def plan(engine: Engine, build: Any, **options: Any) -> list[str]:
    """Return the lines of the plan; on PostgreSQL the statement is run."""
    dialect: Dialect = POSTGRESQL if engine.dialect.name == "postgresql" else SQLITE
    statement = build(message_table(), dialect, **options)
    compiler: Any = full_names.dialect() if dialect is POSTGRESQL else engine.dialect
    compiled = statement.compile(dialect=compiler)
    place = PLACES[dialect.name]
    values = {
        **VALUES,
        **dialect.place_parameters("place", place),
        **dialect.place_parameters("end", place),
        **dialect.row_parameters(id=[7, 8, 9]),
    }
    used = {name: values.get(name, value) for name, value in compiled.params.items()}
    with engine.connect() as connection:
        if dialect is POSTGRESQL:
            sql = f"EXPLAIN (ANALYZE, COSTS OFF) {compiled}"
            return [str(line) for line in connection.exec_driver_sql(sql, used).scalars()]
        given = tuple(used[name] for name in compiled.positiontup or ())
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", given).all()
        return [str(row[-1]) for row in rows]


def refuse_scans(lines: list[str]) -> None:
    scans = [
        line
        for line in lines
        if "Seq Scan on" in line or line.strip() in ("SCAN xclaim_message", "SCAN message")
    ]
    assert not scans, "\n".join(lines)


INDEXES = {
    Walk.HELD: "ix_xclaim_message_expiry",
    Walk.CONSUMED: "ix_xclaim_message_consumed",
    Walk.WAITING: "ix_xclaim_message_claim",
}


@pytest.mark.parametrize("build", [observing_messages.search, observing_messages.search_ids])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_search_goes_by_its_index(large: Engine, way: Way, build: Any) -> None:
    lines = plan(large, build, way=way, conditions=CONDITIONS, may=MAY)

    told = "\n".join(lines)
    if large.dialect.name == "postgresql":
        refuse_scans(lines)
        assert INDEXES.get(way.walk, "xclaim_message_pkey") in told
    elif way.walk in INDEXES:
        assert INDEXES[way.walk] in told
    else:
        assert "INTEGER PRIMARY KEY" in told


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_was_looked_through_is_counted_by_its_index(large: Engine, way: Way) -> None:
    for build in (observing_messages.looked_through, observing_messages.counted_to):
        lines = plan(large, build, way=way)

        refuse_scans(lines)
        told = "\n".join(lines)
        assert INDEXES.get(way.walk, "PRIMARY KEY") in told or "pkey" in told


@pytest.mark.parametrize("large", ["postgresql"], indirect=True)
@pytest.mark.parametrize("walk", INDEXES)
def test_small_parts_are_counted_and_looked_at_by_their_index(large: Engine, walk: Walk) -> None:
    way = Way(walk=walk, is_grouped=True)
    looks = [plan(large, observing_messages.search, way=way, conditions=CONDITIONS, may=MAY)]
    if walk is not Walk.CONSUMED:
        looks.append(plan(large, observing_parts.parts, way=Way(walk=walk)))
    if walk is not Walk.WAITING:
        merged = Way(walk=walk, is_grouped=True, is_merged=True)
        part = Part(is_task=True, is_mapped=True)
        looks.append(plan(large, observing_work.work, way=merged, part=part, may=MAY))

    for lines in looks:
        refuse_scans(lines)
        assert INDEXES[walk] in "\n".join(lines)


LOOKS: dict[str, tuple[Any, dict[str, Any]]] = {
    "keyed ids": (observing_messages.keyed_ids, {}),
    "queues that wait": (observing_messages.next_queue, {"walk": Walk.WAITING}),
    "queues that are held": (observing_messages.next_queue, {"walk": Walk.HELD}),
    "queues that were consumed": (observing_messages.next_queue, {"walk": Walk.CONSUMED}),
    "a level": (observing_messages.next_level, {}),
    "beginnings": (observing_messages.beginnings, {}),
    "one message": (observing_messages.look_at, {"may": MAY}),
    "a document": (observing_messages.document, {"name": "payload"}),
    "claims": (observing_claims.held, {"is_of_queue": False, "is_begun": False}),
    "further claims": (observing_claims.held, {"is_of_queue": False, "is_begun": True}),
    "claims of a queue": (observing_claims.held, {"is_of_queue": True, "is_begun": False}),
    "further claims of a queue": (observing_claims.held, {"is_of_queue": True, "is_begun": True}),
    "letters": (observing_letters.letters_by_error, {"may": MAY}),
    "work": (
        observing_work.work,
        {"way": Way(walk=Walk.IDS), "part": Part(is_task=True, is_mapped=True), "may": MAY},
    ),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_reads_an_index_and_not_the_table(large: Engine, look: str) -> None:
    build, options = LOOKS[look]

    lines = plan(large, build, **options)

    refuse_scans(lines)


# Of the few claims of a queue PostgreSQL may read and sort all.
@pytest.mark.parametrize("way", [way for way in WAYS if way.walk is not Walk.HELD], ids=str)
def test_a_search_reads_no_more_than_it_looks_at(large: Engine, way: Way) -> None:
    if large.dialect.name == "sqlite":
        way = Way(walk=Walk.IDS)  # SQLite does not say how much it has read
    lines = plan(large, observing_messages.search, way=way, conditions=CONDITIONS, may=MAY)
    rows = [
        int(line.partition("rows=")[2].split(".")[0].split(" ")[0])
        for line in lines
        if "actual" in line and "rows=" in line and "Scan" in line
    ]

    assert all(number <= MOST_READ for number in rows), "\n".join(lines)
