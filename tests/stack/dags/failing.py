"""Eight tasks share messages out, one of which always fails; `queue` is in the conf of the run."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from xclaim import Message

for on_error in ("retry", "continue"):
    with DAG(
        f"failing_{on_error}",
        schedule=None,
        default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    ) as dag:

        @task.exclusive(queue_name="{{ dag_run.conf['queue'] }}", drain=True, on_error=on_error)
        def pack(worker: int, message: Message[Any]) -> str:
            if message.payload == "bad":
                raise ValueError("cannot be packed")
            return f"{worker}: {message.payload}"

        pack.expand(worker=list(range(8)))

    globals()[dag.dag_id] = dag
