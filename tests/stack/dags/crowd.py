"""More mapped tasks than messages; as many that do nothing; and as many of which some skip."""

from xclaim.airflow.versions import AirflowSkipException

from airflow.sdk import dag, get_current_context, task

from xclaim import Message


@dag(schedule=None)
def crowd() -> None:
    @task
    def numbers() -> list[int]:
        return list(range((get_current_context()["dag_run"].conf or {}).get("size", 10)))

    @task.exclusive(queue_name="crowd")
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


@dag(schedule=None)
def skipping_crowd() -> None:
    @task
    def numbers() -> list[int]:
        return list(range((get_current_context()["dag_run"].conf or {}).get("size", 10)))

    @task
    def work(number: int) -> list[int]:
        if number % 5 in (1, 3):  # as many as find nothing in the crowd
            raise AirflowSkipException
        return [number]

    work.expand(number=numbers())


crowd()
idle_crowd()
skipping_crowd()
