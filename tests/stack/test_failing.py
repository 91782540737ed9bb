"""One bad message among a hundred, in a real Airflow."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.stack.conftest import Stack

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("on_error", ["retry", "continue"])
def test_a_bad_message_fails_one_task_and_holds_nobody_up(stack: Stack, on_error: str) -> None:
    with stack.queue(f"failing-{on_error}") as queue:
        pushed = queue.push_many([*range(4), "bad", *range(5, 100)])
        run = stack.start(f"failing_{on_error}", queue=queue.name)

        assert run.end() == "failed"

        states = Counter(each["state"] for each in run.instances("pack"))
        assert states["failed"] == 1
        assert states.keys() <= {"failed", "success", "skipped"}
        counts = queue.counts()
        assert (counts.consumed, counts.dead_letters, counts.claimed) == (99, 0, 0)
        failures = queue.failures(pushed[4].id)
        assert len(failures) == 3  # by one task, in its three tries
        assert len({each.claimed_by.partition("#")[0] for each in failures}) == 1
        assert {each.error_class for each in failures} == {"ValueError"}
