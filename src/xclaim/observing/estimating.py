"""How many there are beyond the bound of counting, by the statistics that the database keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from xclaim.observing.asking import Question
from xclaim.observing.values import Count, QueueSummary
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.statements import observing_closely


def estimated(question: Question, summary: QueueSummary) -> QueueSummary:
    """Return the summary with estimates where counting ended. SQLite keeps no such statistics."""
    if question.dialect is not POSTGRESQL:
        return summary
    changes: dict[str, Any] = {
        name: _with_estimate(question, summary.name, name, getattr(summary, name))
        for name in ("available", "delayed", "claimed")
    }
    return replace(summary, **changes)


def _with_estimate(question: Question, queue: str, name: str, count: Count) -> Count:
    if count.is_exact:
        return count
    plan = question.plan(observing_closely.RANGES[name], {"queue_name": queue})
    rows = _rows_of(plan)
    return replace(count, estimate=rows) if rows > count.at_least else count


def _rows_of(plan: Any) -> int:
    parsed = json.loads(plan) if isinstance(plan, str | bytes) else plan
    return int(parsed[0]["Plan"]["Plan Rows"])
