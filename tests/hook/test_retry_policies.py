"""How long a claim is kept for a retry that a `retry_policy` of Airflow delays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.airflow_versions import since
from tests.hook.conftest import RETRIES, within_task
from xclaim.airflow.listener import on_task_instance_failed
from xclaim.airflow.tasks.failing import until_retry
from xclaim.airflow.tasks.identity import running_instance
from xclaim.airflow.tasks.task_queue import TaskQueue

pytestmark = [pytest.mark.airflow, since("3.3", "policies of retries")]

USUAL = timedelta(minutes=1)
LONG = timedelta(hours=2)
START = timedelta(minutes=5)


def policy_of(exception: Any, action: str = "retry", delay: timedelta | None = LONG) -> Any:
    from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule

    rule = RetryRule(exception, action=RetryAction(action), retry_delay=delay)
    return ExceptionRetryPolicy([rule])


def task_with(policy: object) -> Any:
    return SimpleNamespace(retry_delay=USUAL, retry_policy=policy, retries=RETRIES)


def kept_for(policy: object, error: object) -> timedelta:
    instance = SimpleNamespace(task=task_with(policy), try_number=1, max_tries=RETRIES)
    return until_retry(instance, error)


@pytest.mark.parametrize("error", [LookupError("x"), KeyError("x")])
def test_a_claim_is_kept_for_the_delay_of_the_rule_that_matches(error: Exception) -> None:
    assert kept_for(policy_of(LookupError), error) == LONG + START


@pytest.mark.parametrize("error", [ValueError("x"), "LookupError: x", None])
def test_where_no_rule_matches_it_is_kept_for_the_usual_delay(error: object) -> None:
    assert kept_for(policy_of(LookupError), error) == USUAL + START


@pytest.mark.parametrize(("action", "delay"), [("retry", None), ("default", LONG)])
def test_a_rule_without_a_delay_leaves_the_usual_one(action: str, delay: timedelta | None) -> None:
    assert kept_for(policy_of(LookupError, action, delay), LookupError("x")) == USUAL + START


def test_a_rule_that_names_no_class_leaves_the_usual_delay() -> None:
    policy = policy_of("tests.hook.test_retry_policies.USUAL")

    assert kept_for(policy, LookupError("x")) == USUAL + START


def test_a_policy_that_decides_by_itself_is_asked_by_airflow_only() -> None:
    asked: list[object] = []
    policy = SimpleNamespace(evaluate=asked.append)

    assert kept_for(policy, LookupError("x")) == USUAL + START
    assert asked == []


def test_what_a_task_holds_waits_for_the_retry_that_is_delayed(queue: TaskQueue) -> None:
    pushed = queue.push(1)
    with within_task(task=task_with(policy_of(LookupError)), state="up_for_retry"):
        queue.claim()
        instance = running_instance()

    on_task_instance_failed(None, instance, LookupError("x"))

    kept = queue.get(pushed.id)
    assert kept is not None
    assert kept.claim_expires_at is not None
    assert kept.claim_expires_at - datetime.now(UTC) > LONG


def test_what_a_block_failed_with_waits_for_it_too(queue: TaskQueue) -> None:
    pushed = queue.push(1)

    with (
        within_task(task=task_with(policy_of(LookupError))),
        pytest.raises(LookupError),
        queue.consume(),
    ):
        raise LookupError("x")

    kept = queue.get(pushed.id)
    assert kept is not None
    assert kept.claim_expires_at is not None
    assert kept.claim_expires_at - datetime.now(UTC) > LONG
