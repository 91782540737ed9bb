"""A task whose first try waits with a claimed message in its hands, to be killed there.

It tells what happens to it in a file of lines, which the test reads.
"""

import json
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import dag, get_current_context, task

from xclaim import ClaimLostError
from xclaim.airflow.hooks import XclaimHook

PATIENCE = 600.0  # seconds, see examples.airflow_stack


@dag(schedule=None, default_args={"retries": 1, "retry_delay": timedelta(0)})
def kills() -> None:
    @task
    def work() -> None:
        context = get_current_context()
        conf = context["dag_run"].conf or {}
        diary = Path(conf["diary"])

        def tell(event: str, **values: object) -> None:
            names = {"pid": os.getpid(), "parent": os.getppid(), "try": context["ti"].try_number}
            with diary.open("a") as file:
                file.write(json.dumps({"event": event, **names, **values}) + "\n")

        lease = timedelta(seconds=conf.get("lease", 300))
        try:
            with XclaimHook().queue(conf["queue"]).consume(lease=lease) as claimed:
                if claimed is None:
                    tell("nothing")
                    return
                tell("claimed", id=claimed.message.id, attempts=claimed.message.attempts)
                if conf.get("dies"):
                    os.kill(os.getpid(), signal.SIGKILL)
                if claimed.message.attempts == 1:
                    _wait_for(Path(conf["go"]))
                tell("worked")
        except ClaimLostError:
            tell("refused")
            raise
        tell("acked")

    work()


def _wait_for(path: Path) -> None:
    give_up_at = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < give_up_at:
        time.sleep(0.05)


kills()
