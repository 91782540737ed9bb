"""What a task of Airflow has pushed, holds, has consumed and failed at.

No index knows producers and consumers, and none should: each push and ack would pay for it. So the
newest messages are read, 10,000 at most, and who looks can go on. What is held is found by the
index on claims, and what was consumed lately also by that on consumed messages, however long ago
it was pushed. Whoever goes on does so behind the last message that is shown of each kind, so that
none is left out between two pages; what an index has found may be shown again in its place.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from xclaim import arguments
from xclaim.errors import InvalidArgumentError
from xclaim.observing.asking import Question
from xclaim.observing.excerpts import with_excerpts
from xclaim.observing.places import Place, from_cursor, to_cursor
from xclaim.observing.planning import Plan, Tests, readable
from xclaim.observing.sending import Ask, sendable
from xclaim.observing.values import Listed, Work
from xclaim.observing.walking import Looked, Search, queue_names
from xclaim.sql.statements import observing_work
from xclaim.sql.statements.message_conditions import Readable
from xclaim.sql.statements.observing_walks import Walk, Way
from xclaim.sql.statements.observing_work import Part
from xclaim.task_names import mark_of_cut, natural_key

MOST_LOOKED_AT = 10_000
_MOST_LISTED = 500
_KINDS = ("pushed", "held", "consumed", "failed")
_NEWEST_CONSUMED = 250  # of each queue
_CONSUMED = 10_000  # of all queues together
_MOST_QUEUES = 200
_MOST_CLAIMS = 5_000  # that are looked through
_MOST_HELD = 500  # of those, so many of the task: in the order of the queues, not of their ids


@dataclass(frozen=True, slots=True, kw_only=True)
class _Of:
    """Of which task, or of which run."""

    part: Part
    parameters: dict[str, Any]


def work(
    ask: Ask,
    timeout: timedelta,
    of: tuple[str, str, str | None, int | None],
    *,
    limit: int,
    before: str | None,
) -> Work:
    """Return what a task, or a run, has had to do with, ``limit`` of each kind at most."""
    most = arguments.whole_number("limit", limit, 1, _MOST_LISTED)
    asked = _asked(*of)
    return sendable(ask, lambda each: _work(each, timeout, asked, most, before))


def _asked(dag_id: str, run_id: str, task_id: str | None, map_index: int | None) -> _Of:
    arguments.key("dag_id", dag_id)
    arguments.key("run_id", run_id)
    parameters: dict[str, Any] = {"producer_dag_id": dag_id, "producer_run_id": run_id}
    if task_id is None:
        if map_index is not None:
            raise InvalidArgumentError("map_index is that of a task: pass task_id as well")
        claimant = f"{dag_id}/{run_id}/"
        return _Of(
            part=Part(is_task=False, is_mapped=False),
            parameters={**parameters, "claimant_0": claimant},
        )
    arguments.key("task_id", task_id)
    parameters["producer_task_id"] = task_id
    index = -1
    if map_index is not None:
        index = arguments.whole_number("map_index", map_index, -1, 2**31 - 1)
        parameters["producer_map_index"] = str(index)
    name = natural_key(dag_id, run_id, task_id, index)
    parameters["claimant_0"] = f"{name}#"
    if map_index is None:
        parameters["claimant_1"] = f"{name}["
    digest = mark_of_cut(name)  # of all mapped ones nobody knows it
    if digest is not None:
        parameters["claimant_digest"] = digest
    is_mapped = map_index is not None
    part = Part(is_task=True, is_mapped=is_mapped, is_cut=digest is not None)
    return _Of(part=part, parameters=parameters)


def _work(ask: Ask, timeout: timedelta, asked: _Of, limit: int, before: str | None) -> Work:
    began = time.monotonic()
    third = timeout.total_seconds() / 3
    with ask("what the task has done") as question:
        may = readable(question)
        place = from_cursor(Walk.IDS, before, question.dialect)
        sight = _Sight(question, may, asked)
        found: dict[int, Any] = {}
        has_all_held = True
        if place is None:  # who goes on has seen these
            held, has_all_held = sight.held(began + third)
            _add(found, held)
            _add(found, sight.consumed(limit, began + third))
        looked = sight.newest(len(_KINDS) * limit, place, began + 2 * third)
    _add(found, looked.rows)
    kinds = {kind: _of_kind(found, kind) for kind in _KINDS}
    lists = {kind: rows[:limit] for kind, rows in kinds.items()}
    cut = {kind for kind, rows in kinds.items() if len(rows) > limit}
    if looked.place is not None and not has_all_held:
        cut.add("held")
    wanted = {row.id: row for listed in lists.values() for row in listed}
    shown = _shown(ask, began + timeout.total_seconds(), may, list(wanted.values()))
    return Work(
        **{kind: tuple(shown[row.id] for row in listed) for kind, listed in lists.items()},
        looked_at=looked.count,
        looked_back_to=looked.back_to,
        older=_older(looked.place, [rows[limit - 1].id for rows in kinds.values() if rows[limit:]]),
        cut=frozenset(cut),
    )


def _older(place: Place | None, last_shown: list[int]) -> str | None:
    """Return the cursor behind what was looked at, and behind the last shown of what is cut."""
    behind = [*last_shown, *([] if place is None or place.id is None else [place.id])]
    return to_cursor(Walk.IDS, Place(id=max(behind))) if behind else None


def _add(found: dict[int, Any], more: Iterable[Any]) -> None:
    found.update((row.id, row) for row in more)


def _of_kind(found: dict[int, Any], kind: str) -> list[Any]:
    of_kind = [row for row in found.values() if getattr(row, f"is_{kind}")]
    return sorted(of_kind, key=lambda row: row.id, reverse=True)


def _shown(ask: Ask, ends_at: float, may: Readable, found: list[Any]) -> dict[int, Listed]:
    return {message.id: message for message in with_excerpts(ask, ends_at, may, found)}


class _Sight:
    """What is seen of the work of a task, by each of the ways there are."""

    def __init__(self, question: Question, may: Readable, asked: _Of) -> None:
        self._question = question
        self._may = may
        self._asked = asked

    def held(self, ends_at: float) -> tuple[list[Any], bool]:
        """Return what it holds, and whether that is all; else the latest of each queue, too."""
        looked = self._search(Plan(walk=Walk.HELD), _MOST_CLAIMS, _MOST_HELD, None, ends_at)
        if looked.place is None:
            return looked.rows, True
        latest = self._latest(Walk.HELD, _MOST_CLAIMS, _MOST_CLAIMS, _MOST_HELD, ends_at)
        return [*looked.rows, *latest], False

    def consumed(self, limit: int, ends_at: float) -> list[Any]:
        return self._latest(Walk.CONSUMED, _CONSUMED, _NEWEST_CONSUMED, limit, ends_at)

    def _latest(
        self, walk: Walk, most: int, most_of_each: int, limit: int, ends_at: float
    ) -> list[Any]:
        """Return what it is about among the latest of each queue."""
        names = queue_names(self._question, walk, most=_MOST_QUEUES)
        of_each = min(most // max(len(names), 1), most_of_each)
        if self._question.dialect.has_lateral:
            return self._latest_of_all(walk, names, of_each, limit)
        found: list[Any] = []
        for name in names:
            if time.monotonic() >= ends_at:
                break
            plan = Plan(walk=walk, queues=(name,))
            found += self._search(plan, of_each, limit, None, ends_at).rows
        return found

    def _latest_of_all(
        self, walk: Walk, names: Sequence[str], of_each: int, limit: int
    ) -> list[Any]:
        listed = self._question.dialect.row_parameters(queue=names, level=[0] * len(names))
        parameters = {**self._asked.parameters, **listed, "look": of_each, "message_limit": limit}
        way = Way(walk=walk, is_grouped=True, is_merged=True)
        options = {"way": way, "part": self._asked.part, "may": self._may}
        return list(self._question.texts(observing_work.work, parameters, **options))

    def newest(self, limit: int, place: Place | None, ends_at: float) -> Looked:
        return self._search(Plan(walk=Walk.IDS), MOST_LOOKED_AT, limit, place, ends_at)

    def _search(
        self, plan: Plan, most: int, limit: int, place: Place | None, ends_at: float
    ) -> Looked:
        search = Search(
            question=self._question,
            plan=plan,
            may=self._may,
            ends_at=ends_at,
            build=observing_work.work,
            most=most,
            options={"part": self._asked.part, "may": self._may},
        )
        return search.found(Tests(conditions=(), parameters=self._asked.parameters), limit, place)
