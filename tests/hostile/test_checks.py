"""Rows that break a promise hold up no others, the audit names them, and says what mends them.

Some got past the CHECK, while it was dropped or not looked at; the others no CHECK refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import BindParameter, Connection, Engine, bindparam, text
from sqlalchemy.exc import IntegrityError

from tests.contract.facades import Facade, SyncFacade
from tests.hostile.rows import CLAIMED, CONSUMED, DEAD, PAST, row, unsound
from tests.retrying import AT_ONCE
from xclaim import Queue, Ticket
from xclaim.operations.audit import audit
from xclaim.sql.schema import CHECKS
from xclaim.verbs.upkeep import count_prunable

DATABASES = ("sqlite", "postgresql")
NOW = timedelta(0)
TOKEN = "'00000000000000000000000000000002'"
UNCLAIMED = {
    "a token": {"claim_token": TOKEN},
    "all of a claim": {**CLAIMED, "status": "'available'"},
}
A_TIME = {"a time of consumption": {"consumed_at": PAST}}
ODD = {"status": "'odd'", "claim_expires_at": PAST, "consumed_at": PAST}


def _refused() -> dict[str, Mapping[str, str]]:
    return {
        **{f"available, {name}": it for name, it in (UNCLAIMED | A_TIME).items()},
        **{f"dead, {name}": DEAD | it for name, it in (UNCLAIMED | A_TIME).items()},
        **{f"claimed, {name}": CLAIMED | it for name, it in A_TIME.items()},
        "claimed, no token": CLAIMED | {"claim_token": "NULL"},
        "consumed, a token": CONSUMED | {"claim_token": TOKEN},
        "consumed, no time of consumption": CONSUMED | {"consumed_at": "NULL"},
        "odd": ODD,
        "odd, available": {"status": "'odd'"},
        "odd, with a token and a time": ODD | {"claim_token": TOKEN},
        "with an empty status, a token and a time": ODD | {"claim_token": TOKEN, "status": "''"},
    }


REFUSED = _refused()
UNSOUND = {name: it.columns for name, it in unsound().items()}
BROKEN = REFUSED | UNSOUND


def write(engine: Engine, columns: Mapping[str, str], *, count: int = 2) -> None:
    """Write rows that no CHECK looks at; whoever changes one later is refused."""
    with engine.begin() as connection:
        _look_away(connection)
        for _ in range(count):
            row(columns).write(connection)
        _look_again(connection)


def _look_away(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        return
    for name in CHECKS:
        connection.exec_driver_sql(f"ALTER TABLE xclaim_message DROP CONSTRAINT {name}")


def _look_again(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
        return
    for name, condition in CHECKS.items():
        added = f"ALTER TABLE xclaim_message ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID"
        connection.exec_driver_sql(added.replace("%", "%%"))


@pytest.fixture
def facade(engine: Engine) -> Iterator[Facade]:
    """Return one of the facades: both send the same statements, and these rows can be read."""
    facade = SyncFacade(engine)
    yield facade
    facade.close()


@pytest.fixture
def queue(engine: Engine, facade: Facade, broken: Mapping[str, str]) -> Queue:
    """Return a queue with two such rows, and two sound ones behind them in each state."""
    write(engine, broken)
    queue = facade.queue("hostile", retry=AT_ONCE)
    queue.push_many(["innocent"] * 2)
    with engine.begin() as connection:
        for state, payload in ((CLAIMED, "lapsed"), (DEAD, "dead"), (CONSUMED, "consumed")):
            for number in (3, 4):
                token = {"claim_token": f"'0000000000000000000000000000000{number}'"}
                more = token if state is CLAIMED else {}
                row(state, payload=f"""'"{payload}"'""").write(connection, **more)
    return queue


def each(states: Mapping[str, Mapping[str, str]] = BROKEN) -> pytest.MarkDecorator:
    cases = [(database, it) for database in DATABASES for it in states.values()]
    ids = [f"{database}-{name}" for database in DATABASES for name in states]
    return pytest.mark.parametrize(("database", "broken"), cases, ids=ids)


def count(engine: Engine, payload: str, status: str) -> int:
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            f"SELECT count(*) FROM xclaim_message WHERE CAST(payload AS TEXT) = '\"{payload}\"'"
            f" AND status = '{status}' AND queue = 'hostile'"
        )
        return int(found.scalar_one())


@each()
def test_it_holds_up_no_claim(queue: Queue, engine: Engine) -> None:
    while claim := queue.claim():
        queue.ack(claim)

    assert count(engine, "innocent", "consumed") == 2
    assert count(engine, "lapsed", "consumed") == 2


@each()
def test_it_holds_up_no_batch(queue: Queue, engine: Engine) -> None:
    consumed = [claim.payload for claim in queue.stream(batch=9)]
    queue.expire()
    consumed += [claim.payload for claim in queue.stream(batch=9)]

    assert consumed.count("innocent") == 2
    assert consumed.count("lapsed") == 2
    assert count(engine, "lapsed", "consumed") == 2


@each()
def test_it_keeps_nothing_from_being_given_back_redriven_or_pruned(
    queue: Queue, engine: Engine
) -> None:
    queue.expire()
    queue.redrive()
    queue.prune(older_than=NOW)

    assert count(engine, "lapsed", "available") == 2
    assert count(engine, "dead", "available") == 2
    assert count(engine, "consumed", "consumed") == 0


@each()
def test_it_is_named_by_the_audit(queue: Queue, engine: Engine) -> None:
    examples = [name for check in audit(engine).checks for name in check.examples]

    assert queue.counts().available >= 2
    assert "message 1 in 'hostile'" in examples or "message 1 in 'hostile.dead'" in examples


@each(UNSOUND)
def test_what_no_check_refuses_is_written(engine: Engine, broken: Mapping[str, str]) -> None:
    with engine.begin() as connection:
        row(broken).write(connection)

    assert not audit(engine).is_sound


@each(REFUSED)
def test_what_the_check_refuses_is_not_written(engine: Engine, broken: Mapping[str, str]) -> None:
    with pytest.raises(IntegrityError), engine.begin() as connection:
        row(broken).write(connection)

    assert audit(engine).rows == {"available": 0, "claimed": 0, "consumed": 0}


@each()
def test_the_sql_that_the_audit_names_mends_it(engine: Engine, broken: Mapping[str, str]) -> None:
    write(engine, broken, count=1)

    for _ in range(2):  # what a status is made of may show what else is missing
        with engine.begin() as connection:
            for remedy in _remedies(engine):
                connection.execute(text(remedy).bindparams(*_values(remedy)))

    assert _remedies(engine) == []
    assert sum(audit(engine).rows.values()) == 1


def _remedies(engine: Engine) -> list[str]:
    # The CHECK itself is not valid where a row got past it.
    broken = [each for each in audit(engine).checks if each.broken and each.name != "checks"]
    assert all(each.remedy for each in broken), broken
    return [str(each.remedy) for each in broken]


def _values(remedy: str) -> list[BindParameter[Any]]:
    values = {"id": 1, "queue": "hostile"}
    return [bindparam(name, it) for name, it in values.items() if f":{name}" in remedy]


@each({name: it for name, it in UNSOUND.items() if name.startswith("available")})
def test_what_is_available_is_worked_on_whatever_else_its_row_says(
    queue: Queue, engine: Engine
) -> None:
    while claim := queue.claim():
        queue.ack(claim)

    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT status FROM xclaim_message WHERE id < 3")
        assert found.scalars().all() == ["consumed"] * 2


@each({name: it for name, it in UNSOUND.items() if name.startswith("claimed, no claimant")})
def test_a_claim_of_nobody_is_given_back(queue: Queue, engine: Engine) -> None:
    assert queue.expire() == 4

    assert count(engine, "lapsed", "available") == 2


@each({name: it for name, it in BROKEN.items() if name.startswith("claimed")})
def test_it_keeps_no_retry_and_no_ticket_from_the_others(queue: Queue, engine: Engine) -> None:
    with engine.begin() as connection:
        key = "UPDATE xclaim_message SET claim_key = 'key' WHERE "
        connection.exec_driver_sql(key + "status = 'claimed' AND id > 2")
    _with_key(engine, "key")

    again = queue.claim_many(9, claimed_by="try 2", claim_key="key")
    _with_key(engine, again[0].message.claim_key)
    resumed = queue.resume(Ticket.of(again), claimed_by="next", claim_key="other")

    assert [claim.payload for claim in again].count("lapsed") == 2
    assert [claim.payload for claim in resumed].count("lapsed") == 2


def _with_key(engine: Engine, key: str | None) -> None:
    with engine.begin() as connection:
        _look_away(connection)
        change = f"UPDATE xclaim_message SET claim_key = '{key}', claimed_by = 'try 1' WHERE id < 3"
        connection.exec_driver_sql(change)
        _look_again(connection)


@each({name: it for name, it in BROKEN.items() if name.startswith("available")})
def test_asked_for_itself_it_is_claimed_or_not_there(queue: Queue) -> None:
    claims = [queue.claim_message(1), queue.claim_message(3)]

    queue.ack_many([claim for claim in claims if claim is not None])
    assert claims[1] is not None
    assert claims[1].payload == "innocent"


@pytest.mark.parametrize("status", ["odd", "available", "consumed"])
@pytest.mark.parametrize("database", DATABASES)
def test_more_of_them_than_a_sweep_looks_at_keep_no_lapsed_claim(
    engine: Engine, facade: Facade, status: str
) -> None:
    write(
        engine, {"status": f"'{status}'", "claim_expires_at": PAST, "queue": "'hostile'"}, count=101
    )
    with engine.begin() as connection:
        row(CLAIMED, payload="""'"lapsed"'""").write(connection, priority="9")
    queue = facade.queue("hostile", retry=AT_ONCE)

    claims = queue.claim_many(1) + queue.claim_many(200) + queue.claim_many(200)

    assert "lapsed" in [claim.payload for claim in claims]


@pytest.mark.parametrize("database", DATABASES)
def test_more_of_them_than_a_batch_keep_nothing_from_being_given_back_or_pruned(
    engine: Engine, facade: Facade
) -> None:
    write(engine, ODD, count=1_000)
    with engine.begin() as connection:
        row(CLAIMED).write(connection)
        row(CONSUMED).write(connection)
    queue = facade.queue("hostile", retry=AT_ONCE)

    assert queue.expire() == 1
    with engine.connect() as connection:
        assert count_prunable(connection, "hostile", older_than=NOW) == 1
    assert queue.prune(older_than=NOW) == 1


@pytest.mark.parametrize("database", DATABASES)
def test_a_claim_that_no_line_has_a_place_for_is_taken_back_with_the_others(
    engine: Engine, facade: Facade
) -> None:
    mine = {**CLAIMED, "claim_key": "'key'"}
    with engine.begin() as connection:
        row(mine, available_at="NULL").write(connection)
        row(mine, claim_token=TOKEN, payload="'2'").write(connection)
    queue = facade.queue("hostile", retry=AT_ONCE)

    again = queue.claim_many(9, claimed_by="try 2", claim_key="key")

    assert [claim.payload for claim in again] == [1, 2]
