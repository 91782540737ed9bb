"""A pool of mapped tasks works off a queue: each order goes to one of them.

`@task.exclusive` claims before the function runs and acks when it returns. When it raises the
message stays with the task, whose retry gets it first. A task that finds nothing is skipped.

Needs the connection `xclaim_default` and an upgraded schema (`xclaim upgrade`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import Param, dag, get_current_context, task

from xclaim.airflow.operators import PushOperator

if TYPE_CHECKING:
    from xclaim import Message

QUEUE = "share_out"


@dag(
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    params={"orders": Param(6, type="integer"), "workers": Param(8, type="integer")},
    doc_md=__doc__,
)
def share_out() -> None:
    """Push some orders, let some workers share them, and let one task work off a second queue."""

    @task
    def take_orders() -> list[dict[str, int]]:
        return [{"order": number} for number in range(get_current_context()["params"]["orders"])]

    @task
    def count_workers() -> list[int]:
        return list(range(get_current_context()["params"]["workers"]))

    @task.exclusive(queue_name=QUEUE, lease=timedelta(minutes=2))
    def pack(worker: int, message: Message) -> dict[str, int]:
        print(f"worker {worker} packs {message.payload}, attempt {message.attempts}")
        return {"worker": worker, "order": message.payload["order"]}

    @task.exclusive(queue_name=QUEUE, batch=3, drain=True, max_seconds=600, on_empty="succeed")
    def pack_what_is_left(messages: list[Message]) -> int:
        return len(messages)

    orders = PushOperator(task_id="push", queue_name=QUEUE, payloads=take_orders(), max_attempts=5)
    packed = pack.expand(worker=count_workers())
    left = pack_what_is_left.override(trigger_rule="none_failed")()  # type: ignore[call-arg, misc]  # xclaim passes it
    orders >> packed >> left


share_out()
