"""One way to drive both facades: AsyncQueue behind an event loop of its own, call by call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, Protocol, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection

from xclaim import AsyncQueue, Claim, Queue, create_async_engine
from xclaim.verbs import RELEASE


def lose(engine: Engine, claim: Claim) -> None:
    """Take a claim away as another process would, of which its holder hears nothing."""
    with engine.begin() as connection:
        RELEASE.function(connection, claim, delay=timedelta(hours=1))


class Facade(Protocol):
    """Opens queues of one facade on one database."""

    def queue(self, name: str, **options: Any) -> Queue:
        """Return a queue bound to an engine."""

    def in_transaction(self, name: str, **options: Any) -> AbstractContextManager[Queue]:
        """Yield a queue bound to a connection; commit at the end, roll back on an exception."""

    def close(self) -> None:
        """Close what was opened."""


class SyncFacade:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def queue(self, name: str, **options: Any) -> Queue:
        return Queue(name, self._engine, **options)

    @contextmanager
    def in_transaction(self, name: str, **options: Any) -> Iterator[Queue]:
        with self._engine.begin() as connection:
            yield Queue(name, connection, **options)

    def close(self) -> None:
        pass


class AsyncFacade:
    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._engine = create_async_engine(url)

    def queue(self, name: str, **options: Any) -> Queue:
        return cast(Queue, Blocking(AsyncQueue(name, self._engine, **options), self._runner.run))

    @contextmanager
    def in_transaction(self, name: str, **options: Any) -> Iterator[Queue]:
        with blocking_context(self._engine.begin(), self._runner.run) as connection:
            queue = AsyncQueue(name, connection, **options)
            yield cast(Queue, Blocking(queue, self._runner.run))

    def close(self) -> None:
        self._runner.run(self._engine.dispose())
        self._runner.close()


class Blocking:
    """An object whose awaitable methods block."""

    def __init__(self, target: Any, run: Callable[[Any], Any]) -> None:
        self._target = target
        self._run = run

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return self._blocking(value) if callable(value) else value

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            result = method(*args, **options)
            if inspect.iscoroutine(result):
                return self._run(result)
            if hasattr(result, "__aenter__"):
                return blocking_context(result, self._run)
            if hasattr(result, "__anext__"):
                return self._iterate(result)
            return result

        return call

    def _iterate(self, iterator: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    item = self._run(iterator.__anext__())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self._run(iterator.aclose())


@contextmanager
def queue_by(facade: str, url: str, **options: Any) -> Iterator[Queue[Any]]:
    """Yield the queue `orders` of a URL, by "Queue", or by "AsyncQueue" whose verbs block."""
    if facade == "Queue":
        with Queue("orders", url, **options) as queue:
            yield queue
        return
    with asyncio.Runner() as runner:
        queue = cast(Queue, Blocking(AsyncQueue("orders", url, **options), runner.run))
        yield queue
        queue.close()


@contextmanager
def blocking_context(context: Any, run: Callable[[Any], Any]) -> Iterator[Any]:
    """Enter and leave an async context manager, with the block's own exception."""
    entered = run(_await(context.__aenter__()))
    try:
        value = _blocking_value(entered, run)
        yield value
    except BaseException as error:
        if not run(_await(context.__aexit__(type(error), error, error.__traceback__))):
            raise
    else:
        run(_await(context.__aexit__(None, None, None)))


def _blocking_value(entered: Any, run: Callable[[Any], Any]) -> Any:
    if isinstance(entered, tuple):  # transact: the claim and a connection
        claim, connection = entered
        return claim, BlockingConnection(connection, run)
    return entered


class BlockingConnection:
    def __init__(self, connection: AsyncConnection, run: Callable[[Any], Any]) -> None:
        self._connection = connection
        self._run = run

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        return self._run(self._connection.execute(statement, parameters))

    def close(self) -> None:
        self._run(self._connection.close())


async def _await(awaitable: Any) -> Any:
    return await awaitable


def sync_connection(connection: Any) -> Connection:
    return cast(Connection, connection)
