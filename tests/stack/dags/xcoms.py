"""Large XComs and exclusive values, in worker processes and in the triggerer."""

from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator, Context, dag, get_current_context, task

from tests.stack.triggers import ReadLargeTrigger
from xclaim import Message
from xclaim.airflow.xcom import clean_xcoms, exclusive

LARGE = "large " * 1000


class Wait(BaseOperator):
    """Lets the trigger read and write."""

    def execute(self, context: Context) -> None:
        ti = context["ti"]
        self.defer(trigger=ReadLargeTrigger(ti.dag_id, ti.run_id), method_name="resume")

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        pulled = context["ti"].xcom_pull(self.task_id, key="from_trigger")
        return event | {"pulled": pulled[:5]}


@dag(schedule=None)
def xcoms() -> None:
    @task
    def large() -> str:
        return LARGE

    @task(retries=1, retry_delay=timedelta(0))
    def retried() -> str:
        ti = get_current_context()["ti"]
        ti.xcom_push("early", LARGE)
        if ti.try_number == 1:
            raise ValueError("again")
        return LARGE

    large() >> Wait(task_id="wait")
    retried()


@dag(schedule=None)
def hand_over() -> None:
    @task
    def produce() -> list[Any]:
        return [exclusive({"order": number}) for number in range(6)]

    @task.exclusive(retries=1, retry_delay=timedelta(0))
    def work(order: Message) -> list[int]:
        if order.payload["order"] == 3 and order.attempts == 1:
            raise ValueError("again")
        return [order.payload["order"], order.attempts]

    work.expand(order=produce())


@dag(schedule=None)
def clean() -> None:
    @task
    def sweep() -> dict[str, int]:
        return clean_xcoms(timedelta(0))

    sweep()


xcoms()
hand_over()
clean()
