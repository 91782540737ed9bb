"""A cancelled verb in an ORM session has done all or nothing, and leaves the session usable."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.cancelling.calls import moment
from xclaim import AsyncQueue, Queue, create_async_engine, create_engine

pytestmark = pytest.mark.slow

TIMES = 30


class Base(DeclarativeBase):
    pass


class Pushed(Base):
    __tablename__ = "pushed_in_a_session"

    id: Mapped[int] = mapped_column(primary_key=True)


def made(url: str) -> Engine:
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    return engine


async def push_or_not(session: AsyncSession) -> None:
    session.add(Pushed())  # which the verb flushes
    await AsyncQueue("outbox", session).push(1)


def test_a_cancelled_push_is_in_the_session_with_what_it_flushed_or_not_at_all(
    database_url: str,
) -> None:
    async def main() -> int:
        engine, drawn, flushed = create_async_engine(database_url), random.Random(14), 0
        for _ in range(TIMES):
            async with AsyncSession(engine) as session:
                await session.connection()
                task = asyncio.ensure_future(push_or_not(session))
                await asyncio.sleep(moment(drawn))
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                flushed += not session.new
                await session.commit()
        await engine.dispose()
        return flushed

    engine = made(database_url)

    flushed = asyncio.run(main())

    assert Queue("outbox", engine).counts().available == flushed
    engine.dispose()
