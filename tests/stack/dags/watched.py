"""A DAG that is run when messages were pushed, and one that waits for a message."""

from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger
from airflow.sdk import Asset, AssetWatcher, dag, task

from xclaim import Message
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.sensors import ClaimSensor

WATCHER = AssetWatcher(
    name="watched", trigger=MessageQueueTrigger(scheme="xclaim", queue_name="watched")
)


@dag(schedule=[Asset("watched_messages", watchers=[WATCHER])])
def watched() -> None:
    @task.exclusive(queue_name="watched", batch=100, drain=True, on_empty="succeed")
    def drain(messages: list[Message]) -> int:
        return len(messages)

    drain()  # type: ignore[call-arg, misc]  # xclaim passes it


@dag(schedule=None)
def awaited() -> None:
    wait = ClaimSensor(task_id="wait", queue_name="awaited", deferrable=True, timeout=600)

    @task
    def work(ticket: dict[str, object]) -> int:
        with XclaimHook().consume_ticket(ticket) as claims:
            return len(claims)

    work(wait.output)  # type: ignore[arg-type]  # an XCom stands for its value


watched()
awaited()
