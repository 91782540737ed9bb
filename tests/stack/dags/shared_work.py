"""A thousand messages through eight mapped tasks: claimed, or shared out beforehand as XComs."""

from typing import Any

from airflow.sdk import dag, task

from xclaim import Message
from xclaim.airflow.hooks import XclaimHook

MESSAGES, TASKS = 1_000, 8


def orders() -> list[dict[str, Any]]:
    return [{"n": number, "text": "x" * 175} for number in range(MESSAGES)]


@task
def push(queue_name: str) -> list[int]:
    XclaimHook().queue(queue_name).push_many(orders())
    return list(range(TASKS))


@task(trigger_rule="none_failed")
def check(results: Any) -> None:
    """Fail unless each message was worked on once."""
    drained = [result for each in results for result in each or ()]
    numbers = sorted(n for each in drained for n in (each if isinstance(each, list) else [each]))
    if numbers != list(range(MESSAGES)):
        raise ValueError(f"{len(numbers)} of {MESSAGES}, {len(set(numbers))} different ones")


@dag(schedule=None)
def claimed_work() -> None:
    @task.exclusive(queue_name="claimed_work", drain=True, on_empty="succeed")
    def work(_worker: int, message: Message) -> int:
        return int(message.payload["n"])

    check(work.expand(_worker=push("claimed_work")))


@dag(schedule=None)
def claimed_batches() -> None:
    @task.exclusive(queue_name="claimed_batches", batch=25, drain=True, on_empty="succeed")
    def work(_worker: int, messages: list[Message]) -> list[int]:
        return [message.payload["n"] for message in messages]

    check(work.expand(_worker=push("claimed_batches")))


@dag(schedule=None)
def xcom_work() -> None:
    @task
    def share_out() -> list[list[dict[str, Any]]]:
        return [orders()[number::TASKS] for number in range(TASKS)]

    @task
    def work(share: list[dict[str, Any]]) -> list[int]:
        return [order["n"] for order in share]

    check(work.expand(share=share_out()))


claimed_work_dag = claimed_work()
claimed_batches_dag = claimed_batches()
xcom_work_dag = xcom_work()
