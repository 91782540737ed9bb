"""A run starts when messages were pushed, and drains the queue.

The trigger only wakes: a burst of messages is one event and one run, which claims all of them.
A message that comes later starts the next run. Nothing is claimed in the triggerer, so nothing
is lost there. Producers that push with `notify=True` wake it at once; others are found within
two seconds.

Needs the connection `xclaim_default`, an upgraded schema, a triggerer, and `pip install
"xclaim[messaging]"`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger
from airflow.sdk import Asset, AssetWatcher, dag, task

if TYPE_CHECKING:
    from xclaim import Message

QUEUE = "events"
pushed = Asset(
    "events_pushed",
    watchers=[
        AssetWatcher(name="events", trigger=MessageQueueTrigger(scheme="xclaim", queue_name=QUEUE))
    ],
)


@dag(
    schedule=[pushed],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    doc_md=__doc__,
)
def event_driven() -> None:
    """Work off everything that is there."""

    @task.exclusive(queue_name=QUEUE, batch=100, drain=True, on_empty="succeed")
    def handle(messages: list[Message]) -> int:
        return len(messages)

    handle()  # type: ignore[call-arg, misc]  # xclaim passes it


event_driven()
