"""A task whose first try waits with a claimed message in its hands, to be killed there."""

import os
import signal
from datetime import timedelta

from airflow.sdk import dag, task

from tests.stack.diary import conf, tell, wait_for_the_test
from xclaim import ClaimLostError
from xclaim.airflow.hooks import XclaimHook


@dag(
    schedule=None,
    dagrun_timeout=timedelta(days=1),  # a test moves the start of its run
    default_args={"retries": 1, "retry_delay": timedelta(0)},
)
def kills() -> None:
    @task
    def work() -> None:
        lease = timedelta(seconds=conf().get("lease", 300))
        try:
            with XclaimHook().queue(conf()["queue"]).consume(lease=lease) as claimed:
                if claimed is None:
                    tell("nothing")
                    return
                tell("claimed", id=claimed.message.id, attempts=claimed.message.attempts)
                if conf().get("dies"):
                    os.kill(os.getpid(), signal.SIGKILL)
                if claimed.message.attempts == 1:
                    wait_for_the_test()
                tell("worked")
        except ClaimLostError:
            tell("refused")
            raise
        tell("acked")

    work()


kills()
