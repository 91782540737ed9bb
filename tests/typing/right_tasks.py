"""Exclusive tasks as DAG files have them: type checkers find nothing wrong, and it is a DAG."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

from airflow.sdk import DAG, XComArg
from airflow.sdk.bases.decorator import Task

from xclaim import Message, Retry
from xclaim.airflow import exclusive_task
from xclaim.airflow.xcom import ExclusiveValue, exclusive

Order = dict[str, int]
Orders = Message[Order]


@exclusive_task(queue_name="orders")
def pack(message: Message[Any]) -> int:
    """Have nothing but the message."""
    return message.id


@exclusive_task(
    queue_name="orders",
    drain=True,
    max_seconds=60,
    on_error="continue",
    on_empty="succeed",
    on_dead="ignore",
    lease=timedelta(minutes=1),
    retry=Retry(),
    xclaim_conn_id="shop",
    retries=2,
    retry_delay=timedelta(seconds=1),
    pool="default_pool",
    queue="workers",
)
def share(worker: int, message: Orders) -> int:
    """Have the message after something else."""
    return worker + message.payload["id"]


@exclusive_task(queue_name="orders", batch=10)
def batch(messages: list[Orders], *, worker: int = 0) -> list[int]:
    """Have a list of messages."""
    return [message.payload["id"] + worker for message in messages]


@exclusive_task(queue_name="orders", batch=1)
def one(worker: str, at: str, message: Message[Any]) -> str:
    """Have the message as the third."""
    return f"{worker} {at} {message.id}"


@exclusive_task(queue_name="orders")
def any_keyword(**context: Any) -> None:
    """Have the message among all there is."""
    context["message"]


@exclusive_task(queue_name="orders")
def keyword(*, message: Message[Any]) -> None:
    """Have the message by its name only."""
    message.id.bit_count()


@exclusive_task(queue_name="orders", argument="order", batch=2)
def named(order: list[Message[Any]]) -> None:
    """Have the messages under a name of its own."""
    order.clear()


@exclusive_task
def hand_over(value: Message[Any]) -> int:
    """Be passed what another task returned as an exclusive value."""
    return value.id


@exclusive_task(on_empty="fail", on_error="release", xclaim_conn_id=["shop", "payroll"])
def hand_over_many(values: list[Message[Any]], label: str) -> int:
    """Be passed a list, and something else."""
    return len(values) + len(label)


def give(order: Order) -> ExclusiveValue:
    """Return a value for one other task, in the line of its customer."""
    return exclusive(order, "orders", ordering_key=f"customer-{order['customer']}")


def built() -> DAG:
    """Call each task without its message."""
    with DAG("right_tasks") as dag:
        packed = pack()
        assert_type(packed, XComArg)
        assert_type(pack, Task[..., int])
        assert_type(batch, Task[..., list[int]])
        share(1)
        share.override(task_id="by_name", retries=5)(worker=1)
        share.override(task_id="by_another")(packed)
        share.override(task_id="mapped").expand(worker=[1, 2])
        batch()
        batch.override(task_id="of_one")(worker=packed)
        one.partial(worker="me").expand(at=["noon", "night"])
        one.override(task_id="kwargs").expand_kwargs([{"worker": "me", "at": "noon"}])
        any_keyword()
        keyword()
        named()
        hand_over(packed)
        hand_over_many([packed], label="today")
    return dag
