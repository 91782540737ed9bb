"""Addresses of Airflow's own pages, for the names of runs and task instances."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from xclaim.errors import InvalidArgumentError
from xclaim.task_names import path_of_run, path_of_task

if TYPE_CHECKING:
    from xclaim.observing.values import Task

_DOTS = (".", "..")  # which a browser resolves in a path, however they are written


class AirflowPages:
    """The pages below an address of Airflow's UI.

    ``url`` is one of http or https, as ``https://airflow.example/prefix``, or a path on the server
    of the dashboard, as ``/prefix``. Raise InvalidArgumentError for any other: it stands in links.
    """

    def __init__(self, url: str) -> None:
        if not _is_address(url) and not _is_path(url):
            raise InvalidArgumentError(  # which does not show it: it may have a password
                "the URL of Airflow cannot be used: write that of its UI, as "
                "https://airflow.example, without a user, a query or a fragment"
            )
        self._url = url.rstrip("/")

    def of_run(self, dag_id: str, run_id: str) -> str | None:
        """Return the address of a run, None where no address can have its names."""
        if {dag_id, run_id} & {*_DOTS}:
            return None
        return f"{self._url}/{path_of_run(dag_id, run_id)}"

    def of_task(self, task: Task) -> str | None:
        """Return the address of a task instance, None where no address can have its names."""
        if {task.dag_id, task.run_id, task.task_id} & {*_DOTS}:
            return None
        path = path_of_task(task.dag_id, task.run_id, task.task_id, task.map_index)
        return f"{self._url}/{path}"


def _is_address(url: str) -> bool:
    if not _is_plain(url):
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def _is_path(url: str) -> bool:
    return _is_plain(url) and url.startswith("/") and not url.startswith("//")


def _is_plain(url: str) -> bool:
    return url.isascii() and url.isprintable() and not {*url} & {*" \\?#"}
