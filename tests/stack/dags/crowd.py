"""More mapped tasks than messages, and as many that do nothing."""

from airflow.sdk import dag, get_current_context, task

from xclaim import Message


@dag(schedule=None)
def crowd() -> None:
    @task
    def numbers() -> list[int]:
        return list(range((get_current_context()["dag_run"].conf or {}).get("size", 10)))

    @task.exclusive(queue="crowd")
    def work(number: int, message: Message) -> list[int]:
        return [number, message.id]

    work.expand(number=numbers())


@dag(schedule=None)
def idle_crowd() -> None:
    @task
    def numbers() -> list[int]:
        return list(range((get_current_context()["dag_run"].conf or {}).get("size", 10)))

    @task
    def work(number: int) -> list[int]:
        return [number]

    work.expand(number=numbers())


crowd()
idle_crowd()
