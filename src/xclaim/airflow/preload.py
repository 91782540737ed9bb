"""What a scheduler loads once, so that the tasks its LocalExecutor forks need not.

Half of what an exclusive task took beyond an empty one was that: 0.2 s of a core for each task.
"""

from __future__ import annotations


def preload() -> None:
    """Import what a task uses, and compile the statements of a claim and an ack for PostgreSQL."""
    from xclaim.airflow import connections, decorators, sensors  # noqa: F401
    from xclaim.airflow.tasks import task_queue  # noqa: F401
    from xclaim.queues.warm_up import warm_up

    warm_up()
