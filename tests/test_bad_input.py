"""Bad input gets a clear error, and changes nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.asyncio import create_async_engine as sqlalchemy_create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tests.later_xclaim import later_xclaim
from xclaim import (
    AsyncQueue,
    Claim,
    ClaimLostError,
    DatabaseUrlError,
    InvalidArgumentError,
    Message,
    MessagesFailedError,
    PayloadError,
    Payloads,
    Place,
    Places,
    Queue,
    Retry,
    SchemaVersionError,
    Ticket,
    ack,
    create_async_engine,
    create_engine,
)
from xclaim.operations import migrate
from xclaim.payloads.codecs.arrow import Arrow


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue("orders", engine)


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM xclaim_message ORDER BY id")))


@dataclass
class Point:
    x: int


class Level(Enum):
    HIGH = 1


def cycle() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def deep() -> list[Any]:
    items: list[Any] = []
    for _ in range(100_000):
        items = [items]
    return items


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (object(), "payload is of type object"),
        ({"a": [1, object()]}, r"payload\.a\[1\] is of type builtins\.object"),
        ({"a": print}, r"payload\.a is of type"),
        (range(3), "payload is of type range"),
        (Point(1), "allow=.Point"),
        ({"at": Point(1)}, r"payload\.at is of type .*allow=.Point"),
        ({Level.HIGH}, "allow=.Level"),
        (cycle(), "contain a cycle, or be nested"),
        (deep(), "contain a cycle, or be nested"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else "",
)
def test_a_payload_no_codec_knows_is_refused_by_its_place(
    queue: Queue, engine: Engine, payload: Any, named: str
) -> None:
    with pytest.raises(PayloadError, match=named):
        queue.push_many([payload, 1])

    assert rows(engine) == []


def test_a_bad_payload_within_a_batch_pushes_nothing(queue: Queue, engine: Engine) -> None:
    with pytest.raises(PayloadError, match="payload 2 is of type object"):
        queue.push_many([1, 2, object()])

    assert rows(engine) == []


@pytest.mark.parametrize(
    "name",
    ["", "   ", "x" * 10_000, "a\nb", "a\x00b", "\ud800", None, 7, b"orders"],
)
def test_a_queue_name_that_cannot_be_is_refused(engine: Engine, name: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="queue name"):
        Queue(name, engine)


def test_a_long_name_is_shown_cut(engine: Engine) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Queue("x" * 10_000, engine)

    assert "10,000 bytes" in str(caught.value)
    assert len(str(caught.value)) < 200


def test_nothing_is_pushed_to_a_dead_letter_queue(engine: Engine) -> None:
    with pytest.raises(InvalidArgumentError, match="push to 'orders'"):
        Queue("orders.dead", engine).push(1)

    assert rows(engine) == []


@pytest.mark.parametrize(
    "options",
    [
        {"delay": timedelta(seconds=-1)},
        {"delay": 5},
        {"delay": timedelta(days=5_000)},
        {"priority": 40_000},
        {"priority": 1.5},
        {"max_attempts": 0},
        {"max_attempts": True},
        {"unique_key": ""},
        {"unique_key": "x" * 1_001},
        {"unique_key": 7},
        {"headers": ["a"]},
        {"headers": {"a": b"x"}},
    ],
)
def test_a_push_option_out_of_range_is_refused(
    queue: Queue, engine: Engine, options: dict[str, Any]
) -> None:
    with pytest.raises((InvalidArgumentError, PayloadError), match=next(iter(options))):
        queue.push(1, **options)

    assert rows(engine) == []


def test_a_string_is_no_list_of_payloads(queue: Queue, engine: Engine) -> None:
    with pytest.raises(InvalidArgumentError, match="payloads must be a list"):
        queue.push_many("abc")
    with pytest.raises(InvalidArgumentError, match="2 unique_keys for 1 payloads"):
        queue.push_many([1], unique_keys=["a", "b"])

    assert rows(engine) == []


def test_a_string_is_no_list_of_keys(queue: Queue, engine: Engine) -> None:
    with pytest.raises(InvalidArgumentError, match=r"unique_keys.*: pass one for each payload"):
        queue.push_many([1, 2], unique_keys="ab")

    assert rows(engine) == []


@pytest.mark.parametrize(
    "options",
    [
        {"lease": timedelta(seconds=-1)},
        {"lease": 300},
        {"lease": None},
        {"claimed_by": ""},
        {"claimed_by": "x" * 1_001},
        {"claim_key": "a\x00"},
    ],
)
def test_a_claim_option_out_of_range_is_refused(
    queue: Queue, engine: Engine, options: dict[str, Any]
) -> None:
    queue.push(1)
    before = rows(engine)

    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        queue.claim(**options)

    assert rows(engine) == before


@pytest.mark.parametrize("limit", [0, -1, True, 1.0, "1", 10**9])
def test_a_limit_that_is_no_count_is_refused(queue: Queue, engine: Engine, limit: Any) -> None:
    queue.push(1)
    before = rows(engine)

    for verb in (queue.claim_many, queue.peek):
        with pytest.raises(InvalidArgumentError, match="limit"):
            verb(limit)
    for upkeep in (queue.expire, queue.redrive, partial(queue.prune, older_than=timedelta(0))):
        with pytest.raises(InvalidArgumentError, match="limit"):
            upkeep(limit=limit)

    assert rows(engine) == before


@pytest.mark.parametrize("batch", [0, True, "1"])
@pytest.mark.parametrize("facade", [Queue, AsyncQueue])
def test_a_batch_that_is_no_count_is_refused_by_its_name(
    facade: type[Queue] | type[AsyncQueue], database_url: str, batch: Any
) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^batch must"):
        facade("orders", database_url).stream(batch=batch)


@pytest.mark.parametrize("limit", [0, True, "1"])
def test_a_limit_that_is_no_count_is_refused_for_all_parts(sqlite_url: str, limit: Any) -> None:
    places = Places([Place(name="here", queues=["*"], url=sqlite_url)], parts={"orders": 2})

    with Queue("orders", places) as queue:
        for upkeep in (queue.expire, queue.redrive, partial(queue.prune, older_than=timedelta(0))):
            with pytest.raises(InvalidArgumentError, match="limit"):
                upkeep(limit=limit)


def test_prune_needs_an_age(queue: Queue, engine: Engine) -> None:
    queue.push(1)
    queue.ack_many(queue.claim_many(1))
    before = rows(engine)

    with pytest.raises(InvalidArgumentError, match="older_than"):
        queue.prune(older_than=timedelta(days=-1))

    assert rows(engine) == before


@pytest.mark.parametrize("verb", ["ack", "release", "extend"])
@pytest.mark.parametrize("value", [None, 1, {"id": 1}])
def test_only_a_claim_can_be_settled(queue: Queue, verb: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="not a claim"):
        getattr(queue, verb)(value)


@pytest.mark.parametrize("verb", ["ack_many", "extend_many", "working_on"])
@pytest.mark.parametrize("value", [None, 1, "abc", {"id": 1}])
def test_only_a_list_of_claims_can_be_settled(queue: Queue, verb: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"claims must be a list.* pass .*\[claim\]"):
        getattr(queue, verb)(value)


@pytest.mark.parametrize("verb", ["ack_many", "extend_many", "working_on"])
def test_one_claim_is_no_list(queue: Queue, verb: str) -> None:
    queue.push(1)

    with pytest.raises(InvalidArgumentError, match="claims must be a list of claims, not Claim"):
        getattr(queue, verb)(queue.claim())


@pytest.mark.parametrize("verb", ["ack_many", "extend_many", "working_on"])
def test_a_list_with_something_else_settles_none_of_it(
    queue: Queue, engine: Engine, verb: str
) -> None:
    queue.push_many([1, 2])
    claims = queue.claim_many(2)
    before = rows(engine)

    with pytest.raises(InvalidArgumentError, match="not a claim but of type str"):
        getattr(queue, verb)([claims[0], "1", claims[1]])

    assert rows(engine) == before


@pytest.mark.parametrize("value", [None, 1, "abc"])
def test_what_is_no_claim_is_refused_wherever_one_is_taken(
    queue: Queue, engine: Engine, value: Any
) -> None:
    with pytest.raises(InvalidArgumentError, match="claims must be a list of claims"):
        Ticket.of(value)
    with pytest.raises(InvalidArgumentError, match="not a message or a claim but of type"):
        queue.read(value)
    with engine.connect() as connection, pytest.raises(InvalidArgumentError, match="not a claim"):
        ack(connection, value)


@pytest.mark.parametrize("token", [None, "00000000-0000-0000-0000-000000000001", 1], ids=str)
@pytest.mark.parametrize("verb", ["ack", "ack_many"])
def test_a_claim_whose_token_is_none_is_refused(
    queue: Queue, engine: Engine, verb: str, token: Any
) -> None:
    queue.push(1)
    claim = queue.claim()
    assert claim is not None
    before = rows(engine)
    by_hand = replace(claim, token=token)

    with pytest.raises(InvalidArgumentError, match=r"not UUID: .* Claim\.from_dict"):
        getattr(queue, verb)(by_hand if verb == "ack" else [by_hand])

    assert rows(engine) == before


@pytest.mark.parametrize("text", ["a\x00", "\ud800", "", "x" * 1_001, None], ids=ascii)
@pytest.mark.parametrize("name", ["claim_key", "claimed_by"])
def test_a_ticket_of_texts_that_cannot_be_is_refused(queue: Queue, name: str, text: Any) -> None:
    values = {"queue": "orders", "claim_key": "key", "claimed_by": "by", name: text}

    with pytest.raises(InvalidArgumentError, match=f"the ticket's {name}"):
        queue.resume(Ticket(**values))


@pytest.mark.parametrize("wait", [True, 0, 1.5, "a minute"])
def test_a_wait_that_is_no_time_is_refused(queue: Queue, engine: Engine, wait: Any) -> None:
    queue.push(1)
    before = rows(engine)

    for block in (queue.consume, partial(queue.consume_many, 1), queue.transact):
        with (
            pytest.raises(InvalidArgumentError, match="wait must be a timedelta"),
            block(wait=wait),
        ):
            pass
    with pytest.raises(InvalidArgumentError, match="wait must be a timedelta"):
        list(queue.stream(wait=wait))

    assert rows(engine) == before


@pytest.mark.parametrize("whole_lines", [[], {}, "", 0])
def test_whole_lines_is_taken_for_what_it_is_true_or_false(queue: Queue, whole_lines: Any) -> None:
    queue.push_many([1, 2])

    assert [claim.payload for claim in queue.claim_many(2, whole_lines=whole_lines)] == [1, 2]


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words for it")


def test_what_cannot_be_shown_is_named_by_its_type(queue: Queue, engine: Engine) -> None:
    value: Any = Unspeakable()

    for claim in (partial(queue.claim, lease=value), partial(queue.claim_many, value)):
        with pytest.raises(InvalidArgumentError, match="not a value of type Unspeakable"):
            claim()
    with pytest.raises(InvalidArgumentError, match=r"on_dead .* not a value of type Unspeakable"):
        queue.push(1, on_dead=value)

    assert rows(engine) == []


@pytest.mark.parametrize("type_", [{}, Retry(), ValueError("no type")], ids=str)
def test_what_is_no_type_is_refused(engine: Engine, type_: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="cannot be the type of a queue"):
        Queue("orders", engine, type=type_)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"allow": "shop.orders.*"}, r"allow must be a list of types: use allow=\['shop"),
        ({"allow": None}, "allow must be a list of types"),
        ({"allow": ["*"]}, r"allow has '\*': use 'shop.orders:Order'"),
        ({"allow": [7]}, "allow has 7, which is no dataclass"),
        ({"codecs": None}, "codecs must be a list of codecs, not NoneType"),
        ({"codecs": "arrow"}, "codecs must be a list of codecs, not str"),
        ({"codecs": [7]}, "7 is no codec"),
        ({"allow_unencrypted": "false"}, "must be True or False, not 'false'"),
        ({"keys": True}, "keys must be text or a list of it, not bool"),
    ],
    ids=str,
)
def test_payloads_refuse_what_they_cannot_use_before_a_message_is_read(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        Payloads(**options)


def test_what_payloads_are_given_may_come_one_by_one() -> None:
    given = Payloads(allow=iter([Point]), codecs=iter([Arrow()]))  # type: ignore[arg-type]

    assert given.allow == (Point,)
    assert [codec.name for codec in given.codecs] == ["arrow"]


@pytest.mark.parametrize(
    "places",
    [None, "north", ["north"], [None], Place(name="north", queues=["*"], url="sqlite:///x.db")],
    ids=str,
)
def test_what_are_no_places_is_refused(places: Any) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"must be a list of Place, not (of )?[a-zA-Z]+: pass"
    ):
        Places(places)


@pytest.mark.parametrize("failed", [True, [1], "1"], ids=str)
def test_what_failed_is_named_by_a_dict(failed: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"takes a dict, not .*message\.id: error"):
        MessagesFailedError(failed)


def test_a_claim_of_another_database_is_lost_here(
    queue: Queue, engine: Engine, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    migrate.upgrade(url)
    queue.push(1)
    claimed = queue.claim()
    assert claimed is not None
    before = rows(engine)

    with Queue("orders", url) as other, pytest.raises(ClaimLostError, match="another database"):
        other.ack(claimed)

    assert rows(engine) == before


@pytest.mark.parametrize(
    "values", [{}, {"message": {}, "token": "x"}, {"message": 1}, {"token": None}]
)
def test_a_dict_that_is_no_claim_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="not a"):
        Claim.from_dict(values)


def test_a_message_with_a_broken_time_is_refused(queue: Queue) -> None:
    values = queue.push(1).to_dict()

    with pytest.raises(InvalidArgumentError, match="not a message"):
        Message.from_dict({**values, "created_at": "yesterday"})


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("", "malformed"),
        ("orders", "malformed"),
        ("postgresql://user:secret@host:port/db", "malformed"),
        ("sqlite://orders.db", "three slashes"),
        ("sqlite://folder/orders.db", "three slashes"),
        ("sqlite+aiosqlite://user:secret@host/orders.db", "three slashes"),
        ("mysql://user:secret@host/db", "'mysql' is not supported"),
        ("postgresql+psycopg2://user:secret@host/db", "xclaim uses psycopg 3"),
        ("postgresql+asyncpg://user:secret@host/db", "xclaim uses psycopg 3"),
        ("postgresql://user:secret@host/db?prepare_threshold=maybe", "prepare_threshold=maybe"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str, named: str) -> None:
    for facade in (Queue, AsyncQueue):
        with pytest.raises(DatabaseUrlError, match=named) as caught:
            facade("orders", url)

        assert "secret" not in str(caught.value)


def test_a_bind_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="bind must be"):
        Queue("orders", 7)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="bind must be"):
        AsyncQueue("orders", create_engine("sqlite://"))  # type: ignore[arg-type]


class _Driver(ModuleType):
    """Stands for the package of a driver that is not installed, and is never connected."""

    paramstyle = "pyformat"
    __version__ = "2.9.9"
    version_info = (2, 0, 0)
    sqlite_version_info = (3, 40, 0)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


WAY_OUT = {
    "postgresql+pg8000://user:secret@host/db": "write postgresql+psycopg://",
    "postgresql+psycopg2://user:secret@host/db": "write postgresql+psycopg://",
    "mysql+pymysql://user:secret@host/db": "xclaim uses PostgreSQL and SQLite",
    "sqlite+pysqlcipher:///secret.db": "write sqlite:///",
}


@pytest.mark.parametrize("url", WAY_OUT)
def test_another_driver_is_named_with_the_way_out_whatever_it_comes_in(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = url.partition(":")[0]
    package = _Driver(driver)
    monkeypatch.setitem(sys.modules, "psycopg2", package)  # SQLAlchemy 2.0 imports parts of it
    engine = sqlalchemy.create_engine(url, module=package)
    named = rf"'{re.escape(driver)}' is not supported: .*{re.escape(WAY_OUT[url])}"

    for bind in (url, sqlalchemy.make_url(url), engine, Session(engine)):  # none is installed
        with pytest.raises(DatabaseUrlError, match=named) as caught:
            Queue("orders", bind)
        assert "secret" not in str(caught.value)
    for make in (create_engine, create_async_engine, partial(AsyncQueue, "orders")):
        with pytest.raises(DatabaseUrlError, match=named):
            make(url)


def test_a_session_of_another_driver_is_refused_when_its_scope_has_one() -> None:
    url = "postgresql+pg8000://user:secret@host/db"
    engine = sqlalchemy.create_engine(url, module=_Driver("pg8000"))
    queue = Queue("orders", scoped_session(sessionmaker(engine)))

    with pytest.raises(DatabaseUrlError, match="pg8000"):
        queue.push(1)


def test_another_driver_of_asyncio_is_named_with_the_way_out() -> None:
    url = "postgresql+asyncpg://user:secret@host/db"
    engine = sqlalchemy_create_async_engine(url, module=_Driver("asyncpg"))

    for bind in (url, sqlalchemy.make_url(url), engine, AsyncSession(engine)):
        with pytest.raises(DatabaseUrlError, match="psycopg 3, for asyncio too"):
            AsyncQueue("orders", bind)
    with pytest.raises(DatabaseUrlError, match="psycopg 3, for asyncio too"):
        Queue("orders", engine.sync_engine)


def test_a_driver_of_asyncio_is_not_for_blocking_code() -> None:
    for url in ("sqlite+aiosqlite://", "postgresql+psycopg_async://host/db"):
        engine = sqlalchemy.create_engine(url)

        with pytest.raises(InvalidArgumentError, match="use AsyncQueue"):
            Queue("orders", engine)


def test_postgresql_without_psycopg_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    for facade in (Queue, AsyncQueue):
        with pytest.raises(DatabaseUrlError, match="pip install"):
            facade("orders", "postgresql://host/db")


def test_an_unreachable_server_is_sqlalchemys_own_error() -> None:
    url = "postgresql://nobody:secret@127.0.0.1:1/orders?connect_timeout=2"

    with Queue("orders", url) as queue, pytest.raises(OperationalError) as caught:
        queue.claim()

    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_schema_says_what_to_run(empty_database_url: str) -> None:
    with Queue("orders", empty_database_url) as queue:
        for verb in (lambda: queue.push(1), queue.claim, queue.counts, queue.expire):
            with pytest.raises(SchemaVersionError, match="xclaim upgrade") as caught:
                verb()
            assert caught.value.found is None
    with pytest.raises(SchemaVersionError, match="xclaim upgrade"):
        migrate.check(empty_database_url)


def test_an_old_schema_says_what_to_run(empty_database_url: str, tmp_path: Path) -> None:
    migrate.upgrade(empty_database_url)

    with (
        later_xclaim(tmp_path),
        pytest.raises(SchemaVersionError, match="needs 0002: run `xclaim upgrade") as caught,
    ):
        migrate.check(empty_database_url)

    assert caught.value.found == "0001"


def test_an_old_table_that_does_not_fit_says_what_to_run(
    engine: Engine, queue: Queue, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE xclaim_message RENAME COLUMN priority TO rank"))

    with (
        later_xclaim(tmp_path),
        pytest.raises(SchemaVersionError, match="needs 0002: run `xclaim upgrade") as caught,
    ):
        queue.claim()

    assert caught.value.found == "0001"


def test_a_table_that_does_not_fit_its_revision_says_what_to_run(
    engine: Engine, queue: Queue
) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE xclaim_message RENAME COLUMN priority TO rank"))

    with pytest.raises(SchemaVersionError, match="its table does not fit: restore it") as caught:
        queue.claim()

    assert caught.value.found == "0001"


def test_a_newer_schema_is_worked_with_but_not_migrated(engine: Engine, queue: Queue) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE xclaim_alembic_version SET version_num = '9999'"))

    assert queue.push(1).id == 1
    for verb in (migrate.check, migrate.upgrade, lambda bind: migrate.downgrade(bind, "base")):
        with pytest.raises(SchemaVersionError, match="pip install --upgrade xclaim"):
            verb(engine)
    assert len(rows(engine)) == 1


def test_an_unknown_revision_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidArgumentError, match="'nowhere' cannot be reached"):
        migrate.upgrade(engine, "nowhere")


def test_sqlite_has_no_schemas(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgumentError, match="SQLite has no schemas"):
        Queue("orders", sqlite_url, schema="work")

    monkeypatch.setenv("XCLAIM_SCHEMA", "work")
    with pytest.raises(InvalidArgumentError, match="unset XCLAIM_SCHEMA"):
        Queue("orders", sqlite_url)
