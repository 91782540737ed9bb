"""Procrastinate: deferring on its sync connector, and what its worker does for each job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.jobs import Status

from benchmarks.contenders.contender import QUEUE, Payload, key_of


def _pool(url: str) -> dict[str, Any]:
    # In autocommit each of its calls, one statement, is not wrapped in BEGIN and COMMIT.
    return {"conninfo": url, "min_size": 1, "max_size": 1, "kwargs": {"autocommit": True}}


def _work(n: int, text: str) -> None:
    """Stand for the task, which has nothing to do."""


class _Session:
    """An async app to work with, and a sync one to defer with, which is opened when first used."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._runner = asyncio.Runner()
        self._working: tuple[Any, int] = self._runner.run(self._open())

    @cached_property
    def _deferring(self) -> Any:
        return App(connector=SyncPsycopgConnector(**_pool(self._url))).open()

    @cached_property
    def _task(self) -> Any:
        return self._deferring.task(_work, name="work", queue=QUEUE)

    async def _open(self) -> tuple[Any, int]:
        app = App(connector=PsycopgConnector(**_pool(self._url)))
        await app.open_async()
        return app, await app.job_manager.register_worker()

    def push(self, payloads: Sequence[Payload]) -> None:
        """Defer each by a call of its own."""
        for payload in payloads:
            self._task.defer(**payload)

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Defer all by one ``batch_defer``."""
        self._task.batch_defer(*payloads)

    def push_ordered(self, payloads: Sequence[Payload], keys: int) -> None:
        """Defer each with a lock, of which one job is fetched at a time, the first one first."""
        for payload in payloads:
            self._task.configure(lock=key_of(payload, keys)).defer(**payload)

    def consume_ordered(self, limit: int) -> list[int]:
        """Fetch and finish one job after the other: locks are always kept."""
        return self.consume(limit, 1)

    def consume(self, limit: int, batch: int) -> list[int]:
        """Fetch and finish one job after the other, whatever ``batch`` is."""
        app, worker_id = self._working
        return self._runner.run(self._consume(app.job_manager, worker_id, limit))

    async def _consume(self, manager: Any, worker_id: int, limit: int) -> list[int]:
        done: list[int] = []
        while len(done) < limit:
            job = await manager.fetch_job(queues=[QUEUE], worker_id=worker_id)
            if job is None:
                break
            await manager.finish_job(job=job, status=Status.SUCCEEDED, delete_job=False)
            done.append(job.task_kwargs["n"])
        return done

    def close(self) -> None:
        """Unregister the worker and close what was opened."""
        if "_deferring" in self.__dict__:
            self._deferring.close()
        app, worker_id = self._working
        self._runner.run(app.job_manager.unregister_worker(worker_id))
        self._runner.run(app.close_async())
        self._runner.close()


class Procrastinate:
    """Procrastinate at concurrency 1."""

    name = "procrastinate"
    package: str | None = "procrastinate"
    database = "postgresql"
    unconsumed = "SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'"
    note = (
        "defer and batch_defer on its sync connector; its job manager's fetch_job and finish_job,"
        " as its worker calls them at concurrency 1. It has no batch consume: always one at a time."
        " Keeps finished jobs, and a trigger writes an event row for each step. No fencing."
    )

    def install(self, url: str) -> None:
        """Apply its schema."""
        app = App(connector=SyncPsycopgConnector(conninfo=url, min_size=1, max_size=1))
        with app.open():
            app.schema_manager.apply_schema()

    def open(self, url: str) -> _Session:
        """Connect to work, and register the worker, as its worker does when it starts."""
        return _Session(url)
