"""A link from a task to its messages, in whatever shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from xclaim.airflow.provider import MESSAGES_URL

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow.sdk import BaseOperator, Context

    _Operator = BaseOperator
else:
    _Operator = object  # an operator of its own would come before the constructor of another one


class MessagesLink(BaseOperatorLink):
    """What the task has pushed, holds and has consumed: the tab of its page in Airflow.

    Or the page that ``[xclaim] messages_url`` names, with the task's own names filled in, as one
    that reads the view ``xclaim_lineage``:
    ``https://grafana.example/d/xclaim?var-task={task_instance}``. Empty: no link.
    """

    name = "Messages"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the URL, empty when the setting is empty.

        :param operator: whose link it is.
        :param ti_key: the task instance.
        """
        from xclaim.airflow.versions import conf

        from xclaim.task_names import natural_key, path_of_task

        template = conf.get("xclaim", "messages_url", fallback=MESSAGES_URL)
        base_url = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
        names = (ti_key.dag_id, ti_key.run_id, ti_key.task_id, ti_key.map_index)
        values = {
            "dag_id": ti_key.dag_id,
            "run_id": ti_key.run_id,
            "task_id": ti_key.task_id,
            "map_index": str(ti_key.map_index),
            "try_number": str(ti_key.try_number),
            "task_instance": natural_key(*names),
        }
        for name, value in values.items():
            template = template.replace(f"{{{name}}}", quote(value, safe=""))
        template = template.replace("{task_page}", _joined(base_url, path_of_task(*names)))
        return str(template.replace("{base_url}", base_url))


def _joined(base_url: str, path: str) -> str:
    # Without a base_url it is relative to that of the UI, which only the API server may know.
    return f"{base_url}/{path}" if base_url else path


class LinkedToMessages(_Operator):
    """A task that shows its link while it runs: Airflow itself writes links when a task has ended.

    Before ``execute``, and so not within the task's ``execution_timeout``.
    """

    operator_extra_links: Collection[BaseOperatorLink] = (MessagesLink(),)

    def pre_execute(self, context: Context) -> None:
        """Show the link.

        :param context: of the running task.
        """
        super().pre_execute(context)
        _show(self, context["ti"])


def _show(operator: Any, instance: Any) -> None:
    # As Airflow does at the end: in its own database, whatever XCom backend is configured.
    from airflow.sdk.bases.xcom import BaseXCom

    # Not a link that a subclass adds: it may need what only ``execute`` makes.
    ours = (link for link in operator.operator_extra_links if isinstance(link, MessagesLink))
    for link in ours:
        try:
            url = link.get_link(operator, ti_key=instance)
            if url:
                BaseXCom.set(
                    key=link.xcom_key,
                    value=url,
                    dag_id=instance.dag_id,
                    run_id=instance.run_id,
                    task_id=instance.task_id,
                    map_index=instance.map_index,
                )
        except Exception:  # a task does its work without its link
            operator.log.exception("the link %s cannot be shown while the task runs", link.name)
