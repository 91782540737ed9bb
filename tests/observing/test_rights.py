"""What a role may see and do is what its database says, and every refusal names the way out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import make_url, text

from tests.looks import patient_observer
from tests.observing.rows import Rows
from tests.people import People, member, people
from xclaim import create_engine
from xclaim.observing import Observer
from xclaim.observing.values import Action

MAY = {
    "producer": {Action.PUSH},
    "consumer": {Action.RELEASE, Action.EXPIRE},
    "observer": set(),
    "reader": set(),
    "maintainer": {Action.REDRIVE, Action.EXPIRE, Action.WITHDRAW, Action.PAUSE},
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("postgresql_server", ()), id="all queues"),
        pytest.param(("postgresql_server", ("orders",)), id="one queue"),
        pytest.param(("postgresql16_server", ("o'rders:x",)), id="one queue, 16"),
    ],
)
def office(request: pytest.FixtureRequest) -> Iterator[tuple[People, str]]:
    server, queues = request.param
    with people(request.getfixturevalue(server), None, queues) as all_of_them:
        yield all_of_them, queues[0] if queues else "orders"


def observer_of(office: People, who: str) -> Observer:
    return patient_observer(office.engines[who])


@pytest.mark.parametrize("who", MAY)
def test_a_role_may_do_what_it_is_for(office: tuple[People, str], who: str) -> None:
    everybody, queue = office

    rights = observer_of(everybody, who).rights(queue)

    may = {action for action in Action if rights.may(action)}
    # A consumer of all queues can also move dead letters, whose columns are those of a release.
    assert may - {Action.REDRIVE} == MAY[who] - {Action.REDRIVE}
    assert (Action.REDRIVE in may) or who != "maintainer"


@pytest.mark.parametrize("who", MAY)
def test_a_refusal_names_the_role_and_the_command(office: tuple[People, str], who: str) -> None:
    everybody, queue = office

    rights = observer_of(everybody, who).rights(queue)

    assert rights.refusals
    for reason in rights.refusals.values():
        assert str(rights.role) in reason
        assert "run `xclaim grants " in reason


@pytest.mark.parametrize("who", MAY)
def test_who_reads_payloads_is_said(office: tuple[People, str], who: str) -> None:
    everybody, queue = office

    rights = observer_of(everybody, who).rights(queue)

    sees = who in ("producer", "consumer", "reader")
    assert (rights.sees_payloads, rights.sees_errors) == (sees, sees)


@pytest.mark.parametrize("who", ["observer", "maintainer", "consumer", "reader"])
def test_a_role_of_any_kind_looks_at_its_queues(office: tuple[People, str], who: str) -> None:
    everybody, queue = office
    with everybody.owner.begin() as connection:
        connection.execute(text("TRUNCATE xclaim_message"))
    rows = Rows(everybody.owner)
    for name in (queue, "another"):
        rows.available(queue=name)
        rows.claimed(queue=name)
        rows.consumed(queue=name)
        rows.dead(queue=f"{name}.dead")
    observer = observer_of(everybody, who)

    found = {each.name: each for each in observer.queues()}

    assert set(found) == ({queue} if observer.rights().hides_rows else {queue, "another"})
    assert (found[queue].available.at_least, found[queue].dead.at_least) == (1, 1)
    assert observer.queue(queue) is not None
    assert observer.flows([queue])[queue].waiting is not None
    assert observer.measures().queues
    for what in ("consumed", "pushed", "died"):
        assert sum(observer.chart(queue, what, timedelta(days=1)).values) >= 1  # type: ignore[arg-type]


def test_a_role_of_one_queue_may_do_nothing_to_another(postgresql_server: str) -> None:
    with people(postgresql_server, None, ("orders",)) as everybody:
        rights = observer_of(everybody, "maintainer").rights("another")

    assert [action for action in Action if rights.may(action)] == []
    assert "--queue another" in rights.refusals[Action.REDRIVE]


def test_the_owner_may_do_everything(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url)

    rights = patient_observer(engine).rights("orders")

    assert rights.refusals == {}
    assert (rights.sees_payloads, rights.hides_rows) == (True, False)
    assert rights.to_dict()["may"] == [str(action) for action in Action]
    engine.dispose()


def test_a_role_with_nothing_may_do_nothing(postgresql_server: str) -> None:
    with (
        people(postgresql_server, None) as everybody,
        member(postgresql_server, everybody) as nobody,
    ):
        rights = patient_observer(nobody).rights("orders")

    assert set(rights.refusals) == set(Action)
    assert not rights.sees_payloads


def test_a_policy_that_cannot_be_asked_is_taken_for_a_no(postgresql_server: str) -> None:
    with people(postgresql_server, None, ("orders",)) as everybody:
        with everybody.owner.begin() as connection:
            connection.execute(text("CREATE TABLE secret (queue text)"))
            connection.execute(
                text(
                    "CREATE POLICY strict ON xclaim_message AS RESTRICTIVE FOR UPDATE"
                    " USING (queue IN (SELECT queue FROM secret))"
                )
            )
        rights = observer_of(everybody, "maintainer").rights("orders")

    assert not rights.may(Action.REDRIVE)
    assert rights.may(Action.WITHDRAW)


def test_a_session_that_is_set_to_read_only_may_do_nothing(fresh_postgresql_url: str) -> None:
    options = "-c default_transaction_read_only=on"
    engine = create_engine(fresh_postgresql_url, connect_args={"options": options})

    rights = patient_observer(engine).rights("orders")

    assert set(rights.refusals) == set(Action)
    assert "default_transaction_read_only" in rights.refusals[Action.PUSH]
    engine.dispose()


def test_whoever_can_write_the_file_may_do_everything(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    with engine.begin():  # somebody writes meanwhile
        rights = Observer(create_engine(sqlite_url), timeout=timedelta(seconds=1)).rights()

    assert (rights.role, rights.refusals, rights.sees_payloads) == (None, {}, True)
    engine.dispose()


def test_who_cannot_write_the_file_may_do_nothing(sqlite_url: str) -> None:
    path = make_url(sqlite_url).database
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")

    rights = patient_observer(engine).rights()

    assert set(rights.refusals) == set(Action)
    assert "cannot be written" in rights.refusals[Action.PUSH]
    assert patient_observer(engine).queues() == []
    engine.dispose()
