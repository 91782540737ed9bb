"""Lineage: which queues a task pushed to and claimed from, for whoever reads that in Airflow.

OpenLineage asks an operator of ours that is about one queue itself, and takes what the hook
reported of all others: of ``@task.exclusive``, too, whose function may write elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from xclaim.airflow import versions

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import BaseHook


class LineageReports:
    """Tells Airflow's lineage collector which queues a hook's tasks pushed to and claimed from.

    Once for each task, queue and direction: collectors keep a hundred assets, and a task may claim
    a million times.

    :param hook: which pushes and claims.
    """

    def __init__(self, hook: BaseHook) -> None:
        self._hook = hook
        self._reported: set[tuple[str, str, str]] = set()

    def pushed(self, instance_id: str, uri: str) -> None:
        """Report the queue as an output of the task.

        :param instance_id: of the task instance's try.
        :param uri: of the queue.
        """
        self._report("add_output_asset", instance_id, uri)

    def claimed(self, instance_id: str, uri: str) -> None:
        """Report the queue as an input of the task.

        :param instance_id: of the task instance's try.
        :param uri: of the queue.
        """
        self._report("add_input_asset", instance_id, uri)

    def _report(self, add: str, instance_id: str, uri: str) -> None:
        if (add, instance_id, uri) in self._reported:
            return
        self._reported.add((add, instance_id, uri))
        try:
            if (collector := _collector()) is not None:
                getattr(collector, add)(context=self._hook, uri=uri)
        except Exception:  # a task does its work without its lineage
            self._hook.log.exception("lineage is not told of the queue %s", uri)


def operator_lineage(
    *, inputs: Iterable[str] = (), outputs: Iterable[str] = (), pushed: int | None = None
) -> OperatorLineage[Any, Any]:
    """Return what an operator has read and written, as OpenLineage wants it.

    :param inputs: the URIs of queues it claimed from.
    :param outputs: the URIs of queues it pushed to.
    :param pushed: how many messages that were, if it is known.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage

    from xclaim.airflow.assets import openlineage_dataset

    return OperatorLineage(
        inputs=[openlineage_dataset(uri) for uri in inputs],
        outputs=[_written(openlineage_dataset(uri), pushed) for uri in outputs],
    )


def _written(dataset: Any, rows: int | None) -> Any:
    """Return a dataset with how many rows were written to it."""
    if rows is None:
        return dataset
    from airflow.providers.common.compat.openlineage.facet import (
        OutputDataset,
        OutputStatisticsOutputDatasetFacet,
    )

    return OutputDataset(
        namespace=dataset.namespace,
        name=dataset.name,
        outputFacets={"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=rows)},
    )


def _collector() -> Any:
    """Return Airflow's collector of lineage, None if nobody would read it.

    To make one loads the asset factories of all providers, half a second of a core with Amazon's,
    and without readers it drops what it is told.
    """
    made = versions.made_collector()
    if made is not None or not versions.get_hook_lineage_readers_plugins():
        return made
    return versions.get_hook_lineage_collector()
