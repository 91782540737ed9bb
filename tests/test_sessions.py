"""ORM sessions: a queue in one joins its transaction, for both facades, on both databases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import timedelta
from typing import Any, Protocol, cast

import pytest
import sqlalchemy
from sqlalchemy import Connection, Engine, Update, event, select
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from tests.contract.facades import Blocking
from xclaim import (
    AsyncQueue,
    DuplicateMessageError,
    InvalidArgumentError,
    Queue,
    ack,
    claim,
    create_async_engine,
    create_engine,
    push,
)

AUTOCOMMIT: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders_of_a_shop"

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str] = mapped_column(unique=True)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


class Sessions(Protocol):
    """Opens sessions of one facade, and queues in them."""

    def open(self, **options: Any) -> AbstractContextManager[Any]:
        """Yield a session on the engine."""

    def queue(self, session: Any) -> Queue:
        """Return a queue in the session."""

    def close(self) -> None:
        """Close the engine."""


class SyncSessions:
    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)

    def open(self, **options: Any) -> AbstractContextManager[Any]:
        return Session(**{"bind": self._engine} | options)

    def queue(self, session: Any) -> Queue:
        return Queue("outbox", session)

    def close(self) -> None:
        self._engine.dispose()


class AsyncSessions:
    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._engine = create_async_engine(url)

    def open(self, **options: Any) -> AbstractContextManager[Any]:
        session = AsyncSession(**{"bind": self._engine} | options)
        return closing(cast(Any, Blocking(session, self._runner.run)))

    def queue(self, session: Any) -> Queue:
        return cast(Queue, Blocking(AsyncQueue("outbox", session._target), self._runner.run))

    def close(self) -> None:
        self._runner.run(self._engine.dispose())
        self._runner.close()


@pytest.fixture(params=[SyncSessions, AsyncSessions])
def sessions(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Sessions]:
    url = engine.url.render_as_string(hide_password=False)
    sessions: Sessions = request.param(url)
    yield sessions
    sessions.close()


def items(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Order.item).order_by(Order.item)))


def available(engine: Engine) -> int:
    return Queue("outbox", engine).counts().available


def test_a_push_commits_with_the_objects_of_the_session(sessions: Sessions, engine: Engine) -> None:
    with sessions.open() as session:
        session.add(Order(item="teapot"))
        sessions.queue(session).push({"item": "teapot"})
        session.commit()

    assert (items(engine), available(engine)) == (["teapot"], 1)


def test_a_rollback_undoes_the_push_and_the_objects(sessions: Sessions, engine: Engine) -> None:
    with sessions.open() as session:
        session.add(Order(item="teapot"))
        sessions.queue(session).push({"item": "teapot"})
        session.rollback()

    assert (items(engine), available(engine)) == ([], 0)


def test_a_session_that_is_closed_has_not_pushed(sessions: Sessions, engine: Engine) -> None:
    with sessions.open() as session:
        sessions.queue(session).push(1)

    assert available(engine) == 0


def test_one_queue_goes_on_after_a_commit_and_a_rollback(
    sessions: Sessions, engine: Engine
) -> None:
    with sessions.open() as session:
        queue = sessions.queue(session)
        for number, end in enumerate([session.commit, session.rollback, session.commit]):
            queue.push(number)
            end()
        session.close()
        queue.push(3)  # a closed session begins again
        session.commit()

    assert [message.payload for message in Queue("outbox", engine).peek(9)] == [0, 2, 3]


def test_a_savepoint_that_is_rolled_back_takes_its_push_along(
    sessions: Sessions, engine: Engine
) -> None:
    with sessions.open() as session:
        queue = sessions.queue(session)
        queue.push("outside")
        with pytest.raises(ZeroDivisionError), session.begin_nested():
            queue.push("inside")
            raise ZeroDivisionError
        with session.begin_nested():
            queue.push("in another")
        session.commit()

    payloads = [message.payload for message in Queue("outbox", engine).peek(9)]
    assert payloads == ["outside", "in another"]


def test_a_duplicate_in_a_savepoint_leaves_the_session_usable(
    sessions: Sessions, engine: Engine
) -> None:
    Queue("outbox", engine).push(1, unique_key="one")

    with sessions.open() as session:
        with pytest.raises(DuplicateMessageError), session.begin_nested():
            sessions.queue(session).push(2, unique_key="one")
        session.add(Order(item="teapot"))
        session.commit()

    assert items(engine) == ["teapot"]


def test_a_verb_flushes_as_a_query_does(sessions: Sessions) -> None:
    with sessions.open() as session:
        order = Order(item="teapot")
        session.add(order)
        sessions.queue(session).push(1)

        assert order.id is not None
        assert order not in session.new


def test_a_verb_flushes_nothing_where_a_query_would_not(sessions: Sessions) -> None:
    with sessions.open(autoflush=False) as session:
        session.add(Order(item="teapot"))
        sessions.queue(session).push(1)

        assert len(session.new) == 1

    with sessions.open() as session, getattr(session, "_target", session).no_autoflush:
        session.add(Order(item="cup"))
        sessions.queue(session).push(1)

        assert len(session.new) == 1


def test_what_a_flush_raises_comes_first_and_nothing_is_pushed(
    sessions: Sessions, engine: Engine
) -> None:
    with sessions.open() as session:
        session.add_all([Order(item="teapot"), Order(item="teapot")])
        with pytest.raises(IntegrityError):
            sessions.queue(session).push(1)
        session.rollback()
        session.commit()

    assert (items(engine), available(engine)) == ([], 0)


def test_claims_and_acks_join_the_transaction_too(sessions: Sessions, engine: Engine) -> None:
    Queue("outbox", engine).push_many([1, 2, 3, 4])

    with sessions.open() as session:
        queue = sessions.queue(session)
        with queue.consume() as claimed:
            session.add(Order(item=f"number {claimed and claimed.payload}"))
        session.commit()
        taken = queue.claim()
        assert taken is not None
        queue.ack(taken)
        session.rollback()
        for claimed in queue.stream(batch=2):
            session.add(Order(item=f"number {claimed.payload}"))
        session.commit()

    assert items(engine) == [f"number {number}" for number in (1, 2, 3, 4)]
    assert Queue("outbox", engine).counts().consumed == 4


def test_a_block_that_raises_releases_within_the_session(
    sessions: Sessions, engine: Engine
) -> None:
    Queue("outbox", engine).push(1)

    with sessions.open() as session:
        with pytest.raises(ZeroDivisionError), sessions.queue(session).consume():
            raise ZeroDivisionError
        session.commit()

    counts = Queue("outbox", engine).counts()
    assert (counts.claimed, counts.delayed) == (0, 1)


def test_what_needs_an_engine_says_so(sessions: Sessions) -> None:
    with sessions.open() as session:
        queue = sessions.queue(session)
        with (
            pytest.raises(InvalidArgumentError, match="engine: on a connection or in a session"),
            queue.transact(),
        ):
            pass
        with pytest.raises(InvalidArgumentError, match="wait in Queue"):
            queue.claim(wait=timedelta(seconds=1))


def test_a_session_without_a_transaction_says_to_begin_one(
    sessions: Sessions, engine: Engine
) -> None:
    with sessions.open(autobegin=False) as session:
        queue = sessions.queue(session)
        with pytest.raises(InvalidRequestError, match="begin"):
            queue.push(1)
        with session.begin():
            queue.push(2)

    assert available(engine) == 1


def test_a_session_that_was_closed_for_good_pushes_nothing(sessions: Sessions) -> None:
    with sessions.open(close_resets_only=False) as session:
        queue = sessions.queue(session)
        session.close()

        with pytest.raises(InvalidRequestError, match="closed"):
            queue.push(1)


MAKERS: Mapping[str, Callable[..., Engine]] = {
    "of xclaim": create_engine,
    "of SQLAlchemy": sqlalchemy.create_engine,
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("where", ["engine", "option", "session"])
def test_a_session_in_autocommit_is_refused(database_url: str, maker: str, where: str) -> None:
    engine = MAKERS[maker](database_url, **(AUTOCOMMIT if where == "engine" else {}))
    # xclaim's own engine of a SQLite file begins its transactions in spite of that setting.
    begins = maker == "of xclaim" and where == "engine" and engine.dialect.name == "sqlite"
    refused = pytest.raises(InvalidArgumentError, match="in AUTOCOMMIT")

    with Session(
        engine.execution_options(**AUTOCOMMIT) if where == "option" else engine
    ) as session:
        if where == "session":
            session.connection(execution_options=AUTOCOMMIT)
        with nullcontext() if begins else refused:
            Queue("outbox", session).push(1)

    assert available(engine) == 0
    engine.dispose()


def test_a_session_in_autocommit_is_refused_with_asyncio(database_url: str) -> None:
    async def refuse() -> None:
        engine = create_async_engine(database_url)
        async with AsyncSession(engine.execution_options(**AUTOCOMMIT)) as session:
            with pytest.raises(InvalidArgumentError, match="in AUTOCOMMIT"):
                await AsyncQueue("outbox", session).push(1)
        await engine.dispose()

    asyncio.run(refuse())


def test_a_session_on_an_engine_of_sqlalchemy_will_do(database_url: str, engine: Engine) -> None:
    url = sqlalchemy.make_url(database_url)
    theirs = sqlalchemy.create_engine(url)

    with Session(theirs) as session, session.begin():
        session.add(Order(item="teapot"))
        Queue("outbox", session).push(1)
    with Session(theirs) as session:
        Queue("outbox", session).push(2)
        session.rollback()

    theirs.dispose()
    assert (items(engine), available(engine)) == (["teapot"], 1)


def test_a_session_on_a_connection_joins_that(engine: Engine) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            Queue("outbox", session).push(1)
            session.commit()
        transaction.rollback()

    assert available(engine) == 0


def test_a_session_of_several_databases_uses_the_one_for_all_others(
    engine: Engine, empty_sqlite_url: str
) -> None:
    other = create_engine(empty_sqlite_url)
    Base.metadata.create_all(other)

    with Session(engine, binds={Order: other}) as session, session.begin():
        Queue("outbox", session).push(1)
    with (
        Session(binds={Order: other}) as session,
        pytest.raises(InvalidArgumentError, match=r"Session\(engine, binds="),
    ):
        Queue("outbox", session)

    other.dispose()
    assert available(engine) == 1


def test_a_session_that_chooses_its_server_learns_that_a_verb_writes(engine: Engine) -> None:
    class Routing(Session):
        def get_bind(self, mapper: Any = None, **options: Any) -> Engine:
            if isinstance(options.get("clause"), Update):
                return engine
            raise AssertionError("a replica")

    with Routing() as session, session.begin():
        Queue("outbox", session).push(1)

    assert available(engine) == 1


def test_the_plain_functions_take_a_session(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        push(session, "outbox", {"id": 1}, unique_key="one")
        claimed = claim(session, "outbox")
        assert claimed is not None
        ack(session, claimed)

    assert Queue("outbox", engine).counts().consumed == 1


def test_a_scope_gives_each_thread_its_session(engine: Engine) -> None:
    scoped = scoped_session(sessionmaker(engine))
    queue = Queue("outbox", scoped)
    assert not scoped.registry.has()  # nothing is opened for nobody

    def push_and_commit() -> None:
        queue.push("by a thread")
        scoped.commit()
        scoped.remove()

    queue.push("rolled back")
    scoped.rollback()
    thread = threading.Thread(target=push_and_commit)
    thread.start()
    thread.join()
    push(scoped, "outbox", "by a function")
    scoped.commit()
    scoped.remove()

    payloads = [message.payload for message in Queue("outbox", engine).peek(9)]
    assert payloads == ["by a thread", "by a function"]
    assert repr(queue) == "Queue('outbox', 'the session of each scope')"


def test_a_scope_of_asyncio_gives_each_task_its_session(database_url: str, engine: Engine) -> None:
    async def main() -> None:
        ours = create_async_engine(database_url)
        scoped = async_scoped_session(async_sessionmaker(ours), asyncio.current_task)
        queue = AsyncQueue("outbox", scoped)

        async def push_and_end(number: int) -> None:
            await queue.push(number)
            async with queue.consume() as claimed:
                assert claimed is not None
            assert scoped.registry.has()
            await (scoped.commit() if number else scoped.rollback())
            await scoped.remove()

        for number in range(3):
            await asyncio.create_task(push_and_end(number))
        await ours.dispose()

    asyncio.run(main())

    assert Queue("outbox", engine).counts().consumed == 2


def test_blocking_code_within_run_sync_joins_the_session(database_url: str, engine: Engine) -> None:
    async def main() -> None:
        ours = create_async_engine(database_url)
        async with AsyncSession(ours) as session, session.begin():
            await session.run_sync(push, "outbox", 1)
        async with ours.begin() as connection:
            await connection.run_sync(push, "outbox", 2)
        with pytest.raises(InvalidArgumentError, match="use AsyncQueue"):
            push(session.sync_session, "outbox", 3)
        with pytest.raises(InvalidArgumentError, match="use AsyncQueue"):
            Queue("outbox", ours.sync_engine)
        await ours.dispose()

    asyncio.run(main())

    assert available(engine) == 2


def test_an_event_of_the_orm_can_push(sessions: Sessions, engine: Engine) -> None:
    def push_inserted(_: Any, connection: Connection, order: Order) -> None:
        push(connection, "outbox", {"item": order.item, "id": order.id})

    def push_flushed(session: Session, _: Any) -> None:
        push(session, "outbox", "flushed")

    event.listen(Order, "after_insert", push_inserted)
    event.listen(Session, "after_flush", push_flushed)
    try:
        with sessions.open() as session:
            session.add(Order(item="teapot"))
            session.commit()
    finally:
        event.remove(Order, "after_insert", push_inserted)
        event.remove(Session, "after_flush", push_flushed)

    payloads = [message.payload for message in Queue("outbox", engine).peek(9)]
    assert payloads == [{"item": "teapot", "id": 1}, "flushed"]


def test_each_facade_names_the_other(engine: Engine) -> None:
    with pytest.raises(InvalidArgumentError, match="a Session or a URL, not AsyncSession"):
        Queue("outbox", AsyncSession())  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="an AsyncSession or a URL, not Session"):
        AsyncQueue("outbox", Session(engine))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="not sessionmaker"):
        Queue("outbox", sessionmaker(engine))  # type: ignore[arg-type]


def test_the_repr_of_a_queue_in_a_session_shows_its_database() -> None:
    with Session(create_engine("postgresql://user:secret@host/db")) as session:
        assert (
            repr(Queue("outbox", session))
            == "Queue('outbox', 'postgresql+psycopg://user:***@host/db')"
        )
