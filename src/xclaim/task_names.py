"""How Airflow's task instances are named where they push and claim: made, and read again.

``dag/run/task[map]`` is unambiguous: neither dag ids nor task ids may contain a slash or a bracket,
so the first slash ends the dag and the last one begins the task, whatever the run id contains. A
claimant is that and ``#try@host``. The view ``xclaim_lineage`` reads them in the same way.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple
from urllib.parse import quote

from xclaim.arguments import MAX_KEY_BYTES

_CLAIMANT = re.compile(
    r"(?P<dag>[^/]+)/(?P<run>.+)/(?P<task>[^/#\[]+)(?:\[(?P<map>[0-9]{1,9})\])?"
    r"#(?P<attempt>[0-9]{1,9})@[^/@]*",
    re.DOTALL | re.ASCII,
)
_LONGEST_ENDING = 300  # bytes of a try's number and its host
_CUT = re.compile(r"~[0-9a-f]{64}#[0-9]+@[^/@]*")


class TaskName(NamedTuple):
    """A task instance; ``map_index`` is -1 for one that is not mapped."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int


def natural_key(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    """Return ``dag/run/task[map]``."""
    mapped = f"[{map_index}]" if map_index >= 0 else ""
    return f"{dag_id}/{run_id}/{task_id}{mapped}"


def path_of_run(dag_id: str, run_id: str) -> str:
    """Return where the page of a run is below the address of Airflow's UI."""
    return f"dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"


def path_of_task(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    """Return where the page of a task instance is below the address of Airflow's UI."""
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    return f"{path_of_run(dag_id, run_id)}/tasks/{quote(task_id, safe='')}{mapped}"


def shortened(text: str, ending: str = "") -> str:
    """Return the text and its ending; where that is too long for a key, cut, with a digest."""
    room = MAX_KEY_BYTES - len(ending.encode())
    if len(text.encode()) <= room:
        return text + ending
    digest = _digest(text)
    head = text.encode()[: room - len(digest) - 1].decode(errors="ignore")
    return f"{head}~{digest}{ending}"


def mark_of_cut(name: str) -> str | None:
    """Return what the claimants of a task have in them where its name is cut; None if it is not.

    How much of the name is before it depends on the host's.

    :param name: the task's natural key.
    """
    is_kept_whole = len(name.encode()) + _LONGEST_ENDING <= MAX_KEY_BYTES
    return None if is_kept_whole else f"~{_digest(name)}#"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def task_of(claimant: str | None) -> TaskName | None:
    """Return the task instance that a claimant is, None for any other and for one that was cut."""
    found = None if claimant is None else _CLAIMANT.fullmatch(claimant)
    if claimant is None or found is None or _CUT.search(claimant):
        return None
    return TaskName(
        dag_id=found["dag"],
        run_id=found["run"],
        task_id=found["task"],
        map_index=-1 if found["map"] is None else int(found["map"]),
        try_number=int(found["attempt"]),
    )
