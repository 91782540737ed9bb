"""A link from a task to its messages, in whatever shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


class MessagesLink(BaseOperatorLink):
    """The page that ``[xclaim] messages_url`` names, with the task's own names filled in.

    For example a dashboard that reads the view ``xclaim_lineage``:
    ``https://grafana.example/d/xclaim?var-task={task_instance}``. Without that setting no link.
    """

    name = "Messages"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the URL, empty when none is configured.

        :param operator: whose link it is.
        :param ti_key: the task instance.
        """
        from xclaim.airflow.versions import conf

        from xclaim.airflow.tasks.identity import natural_key

        template = conf.get("xclaim", "messages_url", fallback="")
        names = {
            "dag_id": ti_key.dag_id,
            "run_id": ti_key.run_id,
            "task_id": ti_key.task_id,
            "map_index": str(ti_key.map_index),
            "try_number": str(ti_key.try_number),
            "task_instance": natural_key(
                ti_key.dag_id, ti_key.run_id, ti_key.task_id, ti_key.map_index
            ),
        }
        for name, value in names.items():
            template = template.replace(f"{{{name}}}", quote(value, safe=""))
        return str(template)
