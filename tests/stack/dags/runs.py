"""Runs to which something happens; the conf of a run has its queue, its diary and its go."""

import signal
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, dag, get_current_context, setup, task

from tests.stack.diary import conf, tell, wait_for_the_test
from xclaim import Message, Retry
from xclaim.airflow.hooks import XclaimHook

QUEUE = "{{ dag_run.conf['queue'] }}"
SECOND_TRY = 2
DAYS: dict[str, Any] = {
    "schedule": "@daily",
    "start_date": datetime(2026, 1, 1, tzinfo=UTC),
    "end_date": datetime(2026, 1, 4, tzinfo=UTC),  # past: no run but of a backfill
    "catchup": False,
}


@task
def push() -> None:
    run_id = get_current_context()["run_id"]
    XclaimHook().queue(conf()["queue"]).push_many([f"{run_id} {number}" for number in range(3)])


@task.exclusive(queue_name=QUEUE, drain=True, retries=1, retry_delay=timedelta(0))
def pack(worker: int, message: Message[Any]) -> str:
    tell("claimed", id=message.id, attempts=message.attempts)
    if conf().get("waits") and message.payload.endswith(" 1") and message.attempts == 1:
        tell("waits", id=message.id)
        wait_for_the_test()
    return f"{worker}: {message.payload}"


for name, options in {"shared_out": {"schedule": None}, "backfilled": DAYS}.items():
    with DAG(name, **options) as built:
        push() >> pack.expand(worker=[0, 1])
    globals()[name] = built


@dag(schedule=None)
def timed_out() -> None:
    @task(execution_timeout=timedelta(hours=1), retries=2, retry_delay=timedelta(0))
    def work() -> None:
        try_number = get_current_context()["ti"].try_number
        if try_number == 1:
            tell("timed out")
            signal.raise_signal(signal.SIGALRM)  # as if the hour were over
        with XclaimHook().queue(conf()["queue"]).consume() as claimed:
            assert claimed is not None
            tell("claimed", id=claimed.message.id, attempts=claimed.message.attempts)
            if try_number == SECOND_TRY:
                signal.raise_signal(signal.SIGALRM)
        tell("acked")

    work()


@dag(schedule=None)
def torn_down() -> None:
    rest = timedelta(hours=1)

    @setup
    def push_some() -> None:
        XclaimHook().queue(conf()["queue"]).push_many(["bad", "left", "over"])

    @task.exclusive(queue_name=QUEUE, retry=Retry(first=rest, most=rest))
    def work(message: Message[Any]) -> None:
        raise ValueError(message.payload)

    @task.exclusive(queue_name=QUEUE, drain=True, on_empty="succeed")
    def tidy_up(message: Message[Any]) -> None:
        tell("tidied up", payload=message.payload)

    pushed = push_some()
    # xclaim passes the message
    worked = work()  # type: ignore[call-arg, misc]
    tidied = tidy_up()  # type: ignore[call-arg, misc]
    pushed >> worked >> tidied.as_teardown(setups=pushed)


@dag(schedule=None)
def pool_of_one() -> None:
    @task.exclusive(
        queue_name=QUEUE, drain=True, pool="of_one", retries=1, retry_delay=timedelta(0)
    )
    def pack_alone(worker: int, message: Message[Any]) -> int:
        tell("began", payload=message.payload)
        try:
            if message.payload == "again" and message.attempts == 1:
                raise ValueError(message.payload)
            return worker
        finally:
            tell("ended", payload=message.payload)

    pack_alone.expand(worker=[0, 1, 2])


timed_out()
torn_down()
pool_of_one()
