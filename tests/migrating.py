"""What tests of migrations share: threads that begin together, and the tables that there are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine, inspect

from tests.eventually import PATIENCE
from xclaim import create_engine

WAY_OUT = "pass its connection"


def at_once(count: int, work: Callable[[int], object]) -> None:
    """Run the work in threads that begin together; raise what one of them raises."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> object:
        barrier.wait(PATIENCE)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(begin, number) for number in range(count)]:
            future.result()


def tables(bind: Engine | str) -> set[str]:
    engine = create_engine(bind) if isinstance(bind, str) else bind
    inspector = inspect(engine)
    names = {*inspector.get_table_names(), *inspector.get_view_names()}
    if isinstance(bind, str):
        engine.dispose()
    return names
