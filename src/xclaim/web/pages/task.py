"""What an Airflow task instance, or all tasks of a run, did with messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xclaim.errors import InvalidArgumentError
from xclaim.observing.values import Task
from xclaim.web.routes import page

if TYPE_CHECKING:
    from starlette.responses import Response

    from xclaim.web.visits import Visit

_LIMIT = 50
_NOT_MAPPED = -1
_FIELDS = ("dag", "run", "task", "map")
_TITLES = {"held": "Held now", "failed": "Failed", "consumed": "Consumed", "pushed": "Pushed"}


def show_task(visit: Visit) -> Response:
    """Show what the task, or the run, has pushed, holds, has consumed and has failed."""
    dag_id, run_id, task_id = (_named(visit, name) for name in ("dag", "run", "task"))
    if not dag_id or not run_id:
        raise InvalidArgumentError("name the DAG and the run: ?dag=...&run=..., and perhaps &task=")
    map_index = _map_index(visit) if task_id else None
    before = visit.query("before") or None
    work = visit.observer.work(
        dag_id, run_id, task_id or None, map_index, limit=_LIMIT, before=before
    )
    return visit.render(
        "task.html",
        dag_id=dag_id,
        run_id=run_id,
        task=_task(dag_id, run_id, task_id, map_index),
        query={name: given for name in _FIELDS if (given := visit.query(name))},
        parts=[(title, getattr(work, kind), kind in work.cut) for kind, title in _TITLES.items()],
        work=work,
        older=None if work.older is None else {"before": work.older},
        is_first=before is None,
    )


def _named(visit: Visit, name: str) -> str:
    """Return a name of the address; what Airflow has not filled in is no name."""
    value = visit.query(name)
    return "" if value.startswith("{") and value.endswith("}") else value


def _map_index(visit: Visit) -> int | None:
    """Return which of the mapped instances, None for all. Airflow fills in nothing if none is."""
    given = visit.query("map")
    if not given:
        return None
    value = _named(visit, "map")
    if not value:
        return _NOT_MAPPED
    try:
        return int(value)
    except ValueError:
        raise InvalidArgumentError(f"map is the number of a mapped task, not {value!r}") from None


def _task(dag_id: str, run_id: str, task_id: str, map_index: int | None) -> Task | None:
    if not task_id:
        return None
    return Task(
        dag_id=dag_id,
        run_id=run_id,
        task_id=task_id,
        map_index=_NOT_MAPPED if map_index is None else map_index,
        try_number=None,
    )


ROUTES = (page("/task", show_task),)
