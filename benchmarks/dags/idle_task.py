"""A task that does nothing, in a file that does not know xclaim."""

from __future__ import annotations

from airflow.sdk import dag, task

from benchmarks.sides.airflow_task import arrived


@dag(schedule=None)
def idle_task() -> None:
    """Do nothing."""

    @task
    def nothing() -> None:
        arrived()

    nothing()


idle_task()
