"""What Airflow does with an xclaim beside it: find the provider, and use the hook."""

import importlib
import pkgutil

from airflow.providers_manager import ProvidersManager
from airflow.sdk import dag, task

import xclaim.airflow
from xclaim.airflow.hooks import XclaimHook


@dag
def orders() -> None:
    """Share out orders."""

    @task.exclusive(queue_name="orders", drain=True)
    def pack(message):  # type: ignore[no-untyped-def]
        print(message.payload)

    pack()


def main() -> None:
    """Import every module, find the provider, and use the connection of the environment."""
    for module in pkgutil.walk_packages(xclaim.airflow.__path__, "xclaim.airflow."):
        importlib.import_module(module.name)
    assert "xclaim" in ProvidersManager().providers
    assert orders().task_ids == ["pack"]
    with XclaimHook().queue("orders") as queue:
        queue.push({"id": 1})
        claimed = queue.claim()
        assert claimed is not None
        queue.ack(claimed)


main()
