"""What Airflow does with an xclaim beside it: find the provider, and use the hook."""

import importlib
import pkgutil

from airflow.providers_manager import ProvidersManager
from airflow.sdk import DAG, task

import xclaim.airflow
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.operators import PushOperator


def main() -> None:
    """Import every module, find the provider, and use the connection of the environment."""
    for module in pkgutil.walk_packages(xclaim.airflow.__path__, "xclaim.airflow."):
        importlib.import_module(module.name)
    assert "xclaim" in ProvidersManager().providers  # type: ignore[no-untyped-call]
    assert callable(task.exclusive)
    with DAG("orders") as dag:
        PushOperator(task_id="push", queue_name="orders", payloads=[{"id": 1}])
    assert dag.task_ids == ["push"]
    with XclaimHook().queue("orders") as queue:
        queue.push({"id": 1})
        claimed = queue.claim()
        assert claimed is not None
        queue.ack(claimed)
        assert queue.counts().consumed == 1


main()
