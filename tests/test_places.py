"""Queues by their names in several databases and schemas: each is where its place says."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from tests import databases
from tests.people import People, people
from xclaim import (
    AsyncQueue,
    DatabaseUrlError,
    InvalidArgumentError,
    Place,
    Places,
    Queue,
    SchemaVersionError,
    create_engine,
)
from xclaim.operations import migrate
from xclaim.retry import Retry

NOWHERE = "postgresql://somebody:secret@127.0.0.1:1/shop"


@pytest.fixture
def office(postgresql_server: str) -> Iterator[People]:
    with people(postgresql_server, None) as office:
        yield office


@pytest.fixture
def two_schemas(empty_postgresql_url: str) -> Places:
    for schema in ("q1", "q2"):
        engine = create_engine(empty_postgresql_url)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
        engine.dispose()
        migrate.upgrade(empty_postgresql_url, schema=schema)
    return Places(
        [
            Place(
                name="first", queues=["orders", "orders.*"], url=empty_postgresql_url, schema="q1"
            ),
            Place(name="rest", queues=["*"], url=empty_postgresql_url, schema="q2"),
        ]
    )


@pytest.fixture
def two_files(tmp_path: Path) -> Places:
    urls = [databases.sqlite_url(tmp_path / f"{name}.db") for name in ("first", "rest")]
    for url in urls:
        migrate.upgrade(url)
    return Places(
        [
            Place(name="first", queues=["orders", "orders.*"], url=urls[0]),
            Place(name="rest", queues=["*"], url=urls[1]),
        ]
    )


@pytest.fixture(params=["two_schemas", "two_files"])
def places(request: pytest.FixtureRequest) -> Places:
    found: Places = request.getfixturevalue(request.param)
    return found


def of_place(place: Place, queue: str) -> Queue:
    return Queue(queue, place.url, schema=place.schema)


@pytest.mark.parametrize(
    ("queue", "place"), [("orders", "first"), ("orders.eu", "first"), ("parcels", "rest")]
)
def test_a_queue_is_in_the_first_place_that_fits(places: Places, queue: str, place: str) -> None:
    with Queue(queue, places) as placed:
        placed.push(1)
        claim = placed.claim()
        assert claim is not None
        placed.ack(claim)

    with of_place(places.named(place), queue) as there:
        assert there.counts().consumed == 1


def test_asyncio_finds_the_same_place(places: Places) -> None:
    async def push() -> None:
        async with AsyncQueue("orders", places) as queue:
            await queue.push(1)

    asyncio.run(push())

    with of_place(places.named("first"), "orders") as there:
        assert there.counts().available == 1


def test_dead_letters_stay_in_the_place_of_their_queue(places: Places) -> None:
    with Queue("orders", places, retry=Retry(max_attempts=1)) as orders:
        orders.push(1)
        claim = orders.claim()
        assert claim is not None
        orders.release(claim, error="no")

    with Queue("orders.dead", places) as letters:
        assert [letter.last_error for letter in letters.peek()] == ["no"]
        assert letters.redrive() == 1


@pytest.mark.parametrize("facade", [Queue, AsyncQueue])
def test_a_schema_beside_places_is_refused(two_files: Places, facade: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"schema of its place.*schema='q9'"):
        facade("orders", two_files, schema="q9")


def test_a_database_that_is_away_is_named_by_its_place() -> None:
    places = Places([Place(name="north", queues=["*"], url=NOWHERE, schema="q1")])

    with Queue("orders", places) as queue, pytest.raises(OperationalError) as raised:
        queue.push(1)

    (note,) = raised.value.__notes__
    assert "queue 'orders' is in place 'north'" in note
    assert "127.0.0.1:1/shop, schema 'q1'" in note
    assert "secret" not in note


def test_asyncio_names_the_place_too() -> None:
    places = Places([Place(name="north", queues=["*"], url=NOWHERE)])

    async def push() -> None:
        async with AsyncQueue("orders", places) as queue:
            await queue.push(1)

    with pytest.raises(OperationalError) as raised:
        asyncio.run(push())

    assert "place 'north'" in raised.value.__notes__[0]


def end_connections(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    engine.dispose()


def test_a_commit_that_fails_names_the_place(fresh_postgresql_url: str) -> None:
    places = Places([Place(name="north", queues=["*"], url=fresh_postgresql_url)])

    with Queue("orders", places, reconnect=timedelta(0)) as queue:
        queue.push(1)
        with pytest.raises(OperationalError) as raised, queue.transact():
            end_connections(fresh_postgresql_url)

    assert sum("place 'north'" in note for note in raised.value.__notes__) == 1


def test_asyncio_names_the_place_of_a_commit_that_fails(fresh_postgresql_url: str) -> None:
    places = Places([Place(name="north", queues=["*"], url=fresh_postgresql_url)])

    async def work() -> None:
        async with AsyncQueue("orders", places, reconnect=timedelta(0)) as queue:
            await queue.push(1)
            async with queue.transact():
                end_connections(fresh_postgresql_url)

    with pytest.raises(OperationalError) as raised:
        asyncio.run(work())

    assert sum("place 'north'" in note for note in raised.value.__notes__) == 1


def test_a_transaction_that_gets_no_connection_names_the_place(office: People) -> None:
    url = office.engines["consumer"].url
    with office.owner.begin() as connection:
        connection.exec_driver_sql(f'ALTER ROLE "{url.username}" CONNECTION LIMIT 1')
    places = Places([Place(name="north", queues=["*"], url=url.render_as_string(False))])
    office.owned().push(1)

    with (
        Queue("orders", places) as queue,  # whose claims keep that one connection
        pytest.raises(OperationalError, match="too many connections") as raised,
        queue.transact(),
    ):
        raise AssertionError

    (note,) = raised.value.__notes__
    assert "queue 'orders' is in place 'north'" in note


def test_a_missing_schema_names_the_command_for_its_place(
    empty_postgresql_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "my places.toml"
    file.write_text(f'[north]\nqueues = ["*"]\nurl = "{empty_postgresql_url}"\n')

    with (
        Queue("orders", Places.from_file(file)) as queue,
        pytest.raises(SchemaVersionError) as raised,
    ):
        queue.push(1)

    assert f"`xclaim upgrade --places '{file}' --place north`" in str(raised.value)


def test_a_malformed_url_is_named_by_its_place_and_not_shown() -> None:
    places = Places([Place(name="north", queues=["*"], url="postgresql://a:secret@b:port/c")])

    with pytest.raises(DatabaseUrlError, match="place 'north'") as raised:
        Queue("orders", places)

    assert "secret" not in str(raised.value)


def test_reprs_show_no_passwords() -> None:
    assert "secret" not in repr(Places([Place(name="north", queues=["*"], url=NOWHERE)]))


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Places]:
    def write(text: str) -> Places:
        file = tmp_path / "places.toml"
        file.write_text(textwrap.dedent(text))
        return Places.from_file(file)

    monkeypatch.setenv("NORTH_URL", "sqlite:///north.db")
    monkeypatch.delenv("SOUTH_URL", raising=False)
    return write


def test_a_file_keeps_its_order_and_takes_urls_of_the_environment(
    written: Callable[[str], Places],
) -> None:
    places = written(
        """
        [north]
        queues = ["orders.[0-3]"]
        url_variable = "NORTH_URL"
        [all]
        queues = ["*"]
        url = "sqlite:///all.db"
        schema = "q2"
        """
    )

    assert places.names == ["north", "all"]
    assert [places.of(name).name for name in ("orders.3", "orders.4")] == ["north", "all"]
    assert (places.named("north").url, places.named("all").schema) == ("sqlite:///north.db", "q2")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "there is none"),
        ("queues = 1", "'queues' outside of a place"),
        ("[north", "is no TOML"),
        pytest.param(f"queues = {'[' * 10_000}", "is no TOML", id="nested too deeply"),
        ("[north]\nqueues = ['*']\n", "needs a url, or a url_variable"),
        ("[n]\nqueues = ['*']\nurl = 'sqlite://'\nurl_variable = 'A'\n", "one of them"),
        ("[north]\nqueues = '*'\nurl = 'sqlite://'\n", "must be patterns"),
        ("[north]\nqueues = []\nurl = 'sqlite://'\n", "must be patterns"),
        ("[north]\nqueues = [1]\nurl = 'sqlite://'\n", "must be patterns"),
        ("[north]\nqueues = ['a', '*.dead']\nurl = 'sqlite://'\n", r"'\*.dead' of place 'north'"),
        ("[north]\nqueues = ['*']\nurl = 7\n", "url of place 'north' must be text"),
        ("[north]\nqueues = ['*']\nurl = 'sqlite://'\nschema = ''\n", "schema of place 'north'"),
        ("[north]\nqueues = ['*']\nurl_variable = 'SOUTH_URL'\n", "'SOUTH_URL', which is not set"),
        ("[north]\nqueues = ['*']\nurl = 'sqlite://'\nhost = 'a'\n", "'north'.* has host"),
    ],
)
def test_a_wrong_file_is_refused(
    written: Callable[[str], Places], text: str, complaint: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        written(text)


@pytest.mark.parametrize("name", ["nowhere.toml", "with\0NUL.toml"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"cannot be read from .*{name}"):
        Places.from_file(tmp_path / name)


def test_a_queue_in_no_place_is_refused() -> None:
    places = Places([Place(name="north", queues=["orders"], url="sqlite://")])

    with pytest.raises(InvalidArgumentError, match="'parcels' is in no place, there are north"):
        Queue("parcels", places)


def test_two_places_of_one_name_are_refused() -> None:
    north = Place(name="north", queues=["*"], url="sqlite://")

    with pytest.raises(InvalidArgumentError, match="north twice"):
        Places([north, north])


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XCLAIM_PLACES", raising=False)
    assert Places.from_environment() is None

    file = tmp_path / "places.toml"
    file.write_text("[north]\nqueues = ['*']\nurl = 'sqlite://'\n")
    monkeypatch.setenv("XCLAIM_PLACES", str(file))

    places = Places.from_environment()
    assert places is not None
    assert places.names == ["north"]
